import type { TokenDomain } from '@protocolbanks/stream-bundler-client'
import { type Address, authorizationFields, type ExactAuthorization, type Hex } from '@protocolbanks/stream-protocol'
import { encodeFunctionData, hashTypedData, parseSignature } from 'viem'
import { isErc6492Signature, parseErc6492Signature } from 'viem/utils'
import { eip3009Abi } from './eip3009Abi.ts'

/** A signed authorisation of one token. */
export type SignedAuthorization = ExactAuthorization & { token: Address; signature: Hex }

/** How an account that is not deployed yet comes to be, by its signature (ERC-6492). */
export type Deployment = { factory: Address; data: Hex }

/** Digest that the payer signs (EIP-3009, EIP-712). */
export function hashAuthorization(authorization: Omit<SignedAuthorization, 'signature'>, domain: TokenDomain): Hex {
  const { token, from, to, value, validAfter, validBefore, nonce } = authorization
  return hashTypedData({
    domain: { ...domain, verifyingContract: token },
    types: {
      TransferWithAuthorization: authorizationFields,
    },
    primaryType: 'TransferWithAuthorization',
    message: { from, to, value, validAfter, validBefore, nonce },
  })
}

/** The account's own signature, and how it is deployed where the signature says so. Malformed wrapping counts as none. */
export function unwrapSignature(signature: Hex): { inner: Hex; deployment: Deployment | undefined } {
  if (!isErc6492Signature(signature)) return { inner: signature, deployment: undefined }
  try {
    const { address, data, signature: inner } = parseErc6492Signature(signature)
    return address && data ? { inner, deployment: { factory: address, data } } : { inner, deployment: undefined }
  } catch {
    return { inner: signature, deployment: undefined }
  }
}

/**
 * Call data of the transfer, by anybody. `key`: the payer's own key signed, which every EIP-3009 token checks; `account`:
 * the payer is a contract, which USDC v2.2 and its like ask (ERC-1271).
 */
export function encodeTransfer(
  { from, to, value, validAfter, validBefore, nonce }: ExactAuthorization,
  signature: Hex,
  signer: 'key' | 'account',
): Hex {
  const terms = [from, to, value, validAfter, validBefore, nonce] as const
  const call = { abi: eip3009Abi, functionName: 'transferWithAuthorization' } as const
  if (signer === 'account') return encodeFunctionData({ ...call, args: [...terms, signature] })
  const { r, s, yParity } = parseSignature(signature)
  return encodeFunctionData({ ...call, args: [...terms, 27 + yParity, r, s] })
}
