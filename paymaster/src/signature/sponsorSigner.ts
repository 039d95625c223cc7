import type { PaymasterFields, UserOperation } from '@protocolbanks/stream-bundler-client'
import { type Address, type Hex, toCompactSignature } from '@protocolbanks/stream-protocol'
import { concatHex, keccak256, numberToHex, stringToHex } from 'viem'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { hashSponsorship, type SponsorshipWindow } from './hashSponsorship.ts'

/** Makes the paymaster's fields of UserOperations. */
export type SponsorSigner = {
  address: Address
  /** The right size and the same gas, signed by nobody: for estimation. */
  stub(window: SponsorshipWindow): PaymasterFields
  sign(op: UserOperation, window: SponsorshipWindow): Promise<PaymasterFields>
}

/**
 * The contract's check needs about 14,000 (ecrecover, two cold storage slots, two hashes of call data that may be long).
 * There is no postOp.
 */
const gasLimits = { paymasterVerificationGasLimit: 60_000n, paymasterPostOpGasLimit: 0n }

export async function createSponsorSigner(params: {
  chainId: number
  paymaster: Address
  privateKey: Hex
}): Promise<SponsorSigner> {
  const { chainId, paymaster, privateKey } = params
  const signer = privateKeyToAccount(privateKey)
  // By a key that is forgotten here: it recovers, but never to the signer.
  const stranger = privateKeyToAccount(generatePrivateKey())
  const stubSignature = toCompactSignature(await stranger.sign({ hash: keccak256(stringToHex('stub')) }))
  return {
    address: signer.address,
    stub: (window) => ({ paymaster, ...gasLimits, paymasterData: paymasterData(window, stubSignature) }),
    async sign(op, window) {
      const hash = hashSponsorship({ chainId, paymaster }, { ...op, ...gasLimits }, window)
      const signature = toCompactSignature(await signer.sign({ hash }))
      return { paymaster, ...gasLimits, paymasterData: paymasterData(window, signature) }
    },
  }
}

/** `validUntil (6) | validAfter (6) | signature (64, EIP-2098)` */
function paymasterData({ validUntil, validAfter }: SponsorshipWindow, signature: Hex): Hex {
  return concatHex([numberToHex(validUntil, { size: 6 }), numberToHex(validAfter, { size: 6 }), signature])
}
