import { setTimeout as delay } from 'node:timers/promises'
import type { Stack } from '@protocolbanks/stream-dev'
import { erc20Abi } from 'viem'
import type { Budget } from './giveBudget.ts'
import { manage } from './manage.ts'
import type { Shop } from './openShop.ts'

/** Base units: what the meter, the journal and the chain say of one shop with one payer. */
export type Books = { live: bigint; charged: bigint; settled: bigint; received: bigint; calls: number }

type Figures = { chargedAtomic: string }
type Usage = {
  grants?: { channels: { chargedAtomic: string; settledAtomic: string; live: Figures | null; calls: number }[] }[]
}

export async function readBooks(
  stack: Stack,
  shop: Shop,
  { terms, grantId }: Pick<Budget, 'terms' | 'grantId'>,
): Promise<Books> {
  const path = `GET /session-keys/${terms.sessionKey}/usage?grantId=${grantId}` as const
  const { body } = await manage<Usage>(stack, shop.apiKey, path)
  const channel = body.grants?.[0]?.channels[0]
  const received = await stack.clients.publicClient.readContract({
    address: stack.contracts.testUsdc,
    abi: erc20Abi,
    functionName: 'balanceOf',
    args: [shop.payee],
  })
  return {
    live: BigInt(channel?.live?.chargedAtomic ?? 0),
    charged: BigInt(channel?.chargedAtomic ?? 0),
    settled: BigInt(channel?.settledAtomic ?? 0),
    received,
    calls: channel?.calls ?? 0,
  }
}

/**
 * Asks for settlement of what is charged and waits until the meter, the journal, the mirror and the merchant's balance
 * say `expected`, or two minutes are over: what they say then is for the test to judge.
 */
export async function settleAll(
  stack: Stack,
  shop: Shop,
  budget: Pick<Budget, 'terms' | 'grantId'>,
  expected: bigint,
): Promise<Books> {
  const deadline = Date.now() + 120_000
  for (;;) {
    const books = await readBooks(stack, shop, budget)
    const { live, charged, settled, received } = books
    const isDone = [live, charged, settled, received].every((amount) => amount === expected)
    if (isDone || Date.now() > deadline) return books
    if (charged === expected && settled < charged) {
      // Answered 409 while nothing is due: the next round asks again.
      await manage(stack, shop.apiKey, 'POST /settlements', { grantId: budget.grantId })
    }
    await delay(500)
  }
}
