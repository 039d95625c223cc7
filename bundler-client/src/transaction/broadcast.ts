import type { Hex } from '@protocolbanks/stream-protocol'
import { BaseError as ViemError } from 'viem'

/** What a node made of a signed transaction. */
export type Broadcast =
  /** It has it, since now or before. */
  | 'taken'
  /** A transaction with this nonce is in the chain: this one, or another. */
  | 'nonce_used'
  /** The fees are too low, for the next block or to replace one that waits with this nonce. */
  | 'underpriced'
  /** The sender cannot pay for its gas. */
  | 'no_funds'

/** Sends a signed transaction; repeating it does no harm. @throws what viem says when the node did not answer, or refused for another reason */
export async function broadcast(
  chain: { sendRawTransaction(parameters: { serializedTransaction: Hex }): Promise<Hex> },
  rawTransaction: Hex,
): Promise<Broadcast> {
  try {
    await chain.sendRawTransaction({ serializedTransaction: rawTransaction })
    return 'taken'
  } catch (error) {
    const answer = readRefusal(error)
    if (answer === undefined) throw error
    return answer
  }
}

// The words of geth, Erigon, Nethermind, Besu, reth and anvil; JSON-RPC has no codes for them.
const refusals: readonly (readonly [RegExp, Broadcast])[] = [
  [/already known|already imported|alreadyknown|known transaction/i, 'taken'],
  [/nonce( is)? too low|oldnonce/i, 'nonce_used'],
  [
    /underpriced|replacementnotallowed|fee ?too ?low|less than block base fee|below (configured )?minimum/i,
    'underpriced',
  ],
  [/insufficient ?funds|exceeds account balance|insufficient balance/i, 'no_funds'],
]

function readRefusal(error: unknown): Broadcast | undefined {
  if (!(error instanceof ViemError)) return undefined
  const words = `${error.details} ${error.shortMessage}`
  return refusals.find(([pattern]) => pattern.test(words))?.[1]
}
