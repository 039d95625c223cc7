import { type Address, BaseError, type Hex } from '@protocolbanks/stream-protocol'
import {
  type CallParameters,
  HttpRequestError,
  hashMessage,
  type PublicClient,
  TimeoutError,
  BaseError as ViemError,
} from 'viem'
import { verifyHash } from 'viem/actions'

export type VerifyOwnerSignature = (of: { account: Address; message: string; signature: Hex }) => Promise<boolean>

/** ERC-8010: a signature that brings a delegation with it. What an EOA signs plainly is enough. */
const erc8010Suffix = '8010'.repeat(16)

/**
 * Whether an account signed a message (ERC-191): an EOA, delegated or not, by its key; a contract by its own word
 * (ERC-1271), at this moment; one that is not deployed yet by the code its factory would deploy (ERC-6492). The chain is
 * asked with one `eth_call`, of which at most `maxAtOnce` run; the others wait.
 *
 * @throws ChainUnreachableError: nothing is known of the signature then
 */
export function createOwnerSignatureVerifier(
  client: PublicClient,
  { maxAtOnce, maxWaiting }: { maxAtOnce: number; maxWaiting: number },
): VerifyOwnerSignature {
  let running = 0
  const waiting: (() => void)[] = []

  return async ({ account, message, signature }) => {
    if (signature.toLowerCase().endsWith(erc8010Suffix)) return false
    if (running >= maxAtOnce) {
      if (waiting.length >= maxWaiting) throw new ChainUnreachableError('Too many signatures are being verified.')
      await new Promise<void>((resolve) => waiting.push(resolve))
    } else running++
    try {
      return await verify(client, { address: account, hash: hashMessage(message), signature })
    } finally {
      const next = waiting.shift()
      if (next) next()
      else running--
    }
  }
}

async function verify(client: PublicClient, of: { address: Address; hash: Hex; signature: Hex }): Promise<boolean> {
  // viem takes any failed call for a signature that is not valid, also one that no node has answered.
  let unanswered: unknown
  const observed = {
    ...client,
    async call(parameters: CallParameters) {
      try {
        return await client.call(parameters)
      } catch (error) {
        if (!isAnswer(error)) unanswered = error
        throw error
      }
    },
  }
  const isValid = await verifyHash(observed as PublicClient, of)
  if (!isValid && unanswered !== undefined) throw new ChainUnreachableError('The chain does not answer.', unanswered)
  return isValid
}

/** The node answered, with an error of the call. */
function isAnswer(error: unknown): boolean {
  if (!(error instanceof ViemError)) return false
  return !error.walk((cause) => cause instanceof HttpRequestError || cause instanceof TimeoutError)
}

export class ChainUnreachableError extends BaseError {
  override readonly code = 'owner.chain_unreachable'
  override readonly retryable = true
  constructor(what: string, cause?: unknown) {
    super('The signature cannot be verified at the moment.', {
      cause,
      metaMessages: [what],
      docsPath: '/errors#owner-chain-unreachable',
    })
  }
}
