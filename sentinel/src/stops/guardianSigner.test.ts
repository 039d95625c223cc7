import { sessionKeyValidatorAbi } from '@protocolbanks/stream-protocol/abi/sessionKeyValidatorAbi'
import { decodeFunctionData, parseTransaction, recoverTransactionAddress } from 'viem'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { expect, test } from 'vitest'
import { createGuardianSigner } from './guardianSigner.ts'

const module = '0x00000000000000000000000000000000000000aa'
const account = '0x00000000000000000000000000000000000000bb'

test("the guardian's key signs stops at the module on its chain, without ether, and nothing else", async () => {
  const key = privateKeyToAccount(generatePrivateKey())
  const signer = createGuardianSigner(key, { chainId: 31_337, module })
  expect(Object.keys(signer).toSorted()).toEqual(['address', 'sign'])
  const stops = [
    { account, grantId: `0x${'01'.repeat(32)}`, revokes: false },
    { account, grantId: `0x${'02'.repeat(32)}`, revokes: true },
  ] as const
  // Whatever else the caller may say is not signed.
  const asked = { stops, nonce: 7, gas: 90_000n, maxFeePerGas: 2n, maxPriorityFeePerGas: 1n }
  const raw = await signer.sign({ ...asked, ...{ to: account, value: 5n, data: '0x1234', chainId: 1 } })
  const { to, value, chainId, nonce, data } = parseTransaction(raw)
  expect({ to, value: value ?? 0n, chainId, nonce }).toEqual({
    to: module.toLowerCase(),
    value: 0n,
    chainId: 31_337,
    nonce: 7,
  })
  const call = decodeFunctionData({ abi: sessionKeyValidatorAbi, data: data ?? '0x' })
  expect(call.functionName).toBe('stopMany')
  expect(await recoverTransactionAddress({ serializedTransaction: raw as `0x02${string}` })).toBe(key.address)
})
