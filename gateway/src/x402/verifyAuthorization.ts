import type { TokenDomain } from '@protocolbanks/stream-bundler-client'
import { type Address, BaseError, type Hex } from '@protocolbanks/stream-protocol'
import { HttpRequestError, type PublicClient, recoverAddress, TimeoutError, BaseError as ViemError } from 'viem'
import { verifyHash } from 'viem/actions'
import type { ExactRefusal } from '../payment/refusals.ts'
import {
  type Deployment,
  encodeTransfer,
  hashAuthorization,
  type SignedAuthorization,
  unwrapSignature,
} from './authorization.ts'
import { eip3009Abi } from './eip3009Abi.ts'

/** How a verified authorisation is settled. */
export type TransferPlan = {
  data: Hex
  /** Gas limit of the transfer. */
  gas: bigint
  /** The payer's account has to be deployed first. */
  deployment: Deployment | undefined
}

export type VerifiedAuthorization = { ok: true; plan: TransferPlan } | { ok: false; code: ExactRefusal }

export type VerifierDeps = {
  client: PublicClient
  domain: TokenDomain
  /** Who sends the transfer. */
  relayer: Address
  /** Factories whose accounts may pay before they are deployed (ERC-6492). */
  factories: readonly Address[]
}

/** Of a transfer. An account's own check of a signature (ERC-1271) is most of it. */
export const maxTransferGas = 500_000n
/** Of an account's deployment by its factory. */
export const maxDeployGas = 2_000_000n
/** Used where nothing can be tried: the account is not there yet. */
const undeployedTransferGas = 300_000n

/**
 * Whether an authorisation moves the money now: signature (EOA, ERC-1271, ERC-6492), balance, nonce, window and everything
 * else the token asks, by trying the transfer out on the chain's newest state. Check its terms before (checkTerms.ts).
 *
 * @throws ChainUnansweredError: nothing is known of it then
 */
export async function verifyAuthorization(
  authorization: SignedAuthorization,
  deps: VerifierDeps,
): Promise<VerifiedAuthorization> {
  const { client, relayer } = deps
  const { token, from } = authorization
  const { inner, deployment } = unwrapSignature(authorization.signature)
  const signer = await signerOf(authorization, inner, deps.domain)
  if (signer === 'account') {
    const hasCode = (await asked(client.getCode({ address: from }))) !== undefined
    if (!hasCode)
      return deployment
        ? verifyUndeployed(authorization, { inner, deployment }, deps)
        : refuse('exact.signature_invalid')
  }
  const data = encodeTransfer(authorization, inner, signer)
  try {
    const needed = await client.estimateGas({ account: relayer, to: token, data })
    const gas = needed + needed / 4n + 10_000n
    return gas > maxTransferGas
      ? refuse('exact.transfer_refused')
      : { ok: true, plan: { data, gas, deployment: undefined } }
  } catch (error) {
    if (!isAnswer(error)) throw new ChainUnansweredError(error)
    return refuse(await diagnose(authorization, signer, deps))
  }
}

/** Whether the payer signed it, and nothing else: for one that is presented again. @throws ChainUnansweredError */
export async function isSignedByPayer(
  authorization: SignedAuthorization,
  { client, domain }: Pick<VerifierDeps, 'client' | 'domain'>,
): Promise<boolean> {
  const { inner } = unwrapSignature(authorization.signature)
  if ((await signerOf(authorization, inner, domain)) === 'key') return true
  return asked(isValidByAccount(client, authorization, domain))
}

async function signerOf(
  authorization: SignedAuthorization,
  inner: Hex,
  domain: TokenDomain,
): Promise<'key' | 'account'> {
  if (inner.length !== 132) return 'account'
  const hash = hashAuthorization(authorization, domain)
  const recovered = await recoverAddress({ hash, signature: inner }).catch(() => undefined)
  return recovered === authorization.from ? 'key' : 'account'
}

/** Nothing of it can be tried before the account is there; its factory's word and the token's numbers are what there is. */
async function verifyUndeployed(
  authorization: SignedAuthorization,
  { inner, deployment }: { inner: Hex; deployment: Deployment },
  deps: VerifierDeps,
): Promise<VerifiedAuthorization> {
  if (!deps.factories.includes(deployment.factory)) return refuse('exact.factory_refused')
  if (!(await asked(isValidByAccount(deps.client, authorization, deps.domain))))
    return refuse('exact.signature_invalid')
  const state = await readState(authorization, deps.client)
  if (state.isUsed) return refuse('exact.nonce_used')
  if (state.balance < authorization.value) return refuse('exact.balance_too_low')
  const data = encodeTransfer(authorization, inner, 'account')
  return { ok: true, plan: { data, gas: undeployedTransferGas, deployment } }
}

async function diagnose(
  authorization: SignedAuthorization,
  signer: 'key' | 'account',
  { client, domain }: VerifierDeps,
): Promise<ExactRefusal> {
  const state = await readState(authorization, client)
  if (state.isUsed) return 'exact.nonce_used'
  if (signer === 'account' && !(await asked(isValidByAccount(client, authorization, domain)))) {
    return 'exact.signature_invalid'
  }
  return state.balance < authorization.value ? 'exact.balance_too_low' : 'exact.transfer_refused'
}

async function readState({ token, from, nonce }: SignedAuthorization, client: PublicClient) {
  const contract = { address: token, abi: eip3009Abi } as const
  const [isUsed, balance] = await asked(
    Promise.all([
      client.readContract({ ...contract, functionName: 'authorizationState', args: [from, nonce] }),
      client.readContract({ ...contract, functionName: 'balanceOf', args: [from] }),
    ]),
  )
  return { isUsed, balance }
}

/** By ERC-1271, and for an account that is not there yet by ERC-6492. */
function isValidByAccount(client: PublicClient, authorization: SignedAuthorization, domain: TokenDomain) {
  const { from: address, signature } = authorization
  return verifyHash(client, { address, hash: hashAuthorization(authorization, domain), signature })
}

/** @throws ChainUnansweredError */
async function asked<T>(reading: Promise<T>): Promise<T> {
  try {
    return await reading
  } catch (error) {
    throw new ChainUnansweredError(error)
  }
}

/** The node answered, with an error of the call. */
function isAnswer(error: unknown): boolean {
  if (!(error instanceof ViemError)) return false
  return !error.walk((cause) => cause instanceof HttpRequestError || cause instanceof TimeoutError)
}

function refuse(code: ExactRefusal): VerifiedAuthorization {
  return { ok: false, code }
}

export class ChainUnansweredError extends BaseError {
  override readonly code = 'exact.unavailable'
  override readonly retryable = true
  constructor(cause: unknown) {
    super('The chain does not answer, so the payment cannot be verified.', {
      cause,
      metaMessages: ['Nothing was paid. Repeat the request with the same payment.'],
      docsPath: '/errors#exact-unavailable',
    })
  }
}
