import { AsyncLocalStorage } from 'node:async_hooks'
import { setMaxListeners } from 'node:events'
import { setTimeout as delay } from 'node:timers/promises'
import type { Address, Hex } from '@protocolbanks/stream-protocol'
import { createPayingFetch, PaymentRefusedError } from '@protocolbanks/stream-sdk'
import { createBalancedFetch } from './createBalancedFetch.ts'
import { gateways } from './fault.ts'
import { type Buyer, type Market, priceAtomic, type Shop } from './openMarket.ts'
import type { World } from './world.ts'

/** What an agent bought, or tried to. The agents' own book: the truth of what was served. */
export type Call = {
  requestId: string
  grantId: Hex
  payee: Address
  amountAtomic: bigint
  /** `answered`: the gateway says that it was served before, and the answer did not arrive. `open`: nobody knows. */
  outcome: 'open' | 'served' | 'answered'
  tries: number
}

/** Agents that pay for calls through both gateways, and never give a call up: they ask again under the same id. */
export type Traffic = {
  calls: readonly Call[]
  served(): number
  /** Refusals and failures by `status code` or name, each try counted. */
  refusals: ReadonlyMap<string, number>
  /** What must not happen: a wrong answer, an error that is neither a refusal nor a lost connection. */
  surprises: string[]
  /** Until a try that began from now on has been answered. @throws after `timeoutMs` */
  untilServed(timeoutMs: number): Promise<void>
  untilTotal(served: number, timeoutMs: number): Promise<void>
  setCallsPerSecond(rate: number): void
  /** Begins no more calls; returns when each has its answer, or `timeoutMs` is over. */
  stop(timeoutMs: number): Promise<void>
}

const callsAtOnce = 3
const answerTimeoutMs = 8_000
const retryMs = 400
const maxSurprises = 50

export function startTraffic(world: World, market: Market, options: { callsPerSecond: number }): Traffic {
  const calls: Call[] = []
  const surprises: string[] = []
  const refusals = new Map<string, number>()
  const waiting = new Set<{ since: number; done(): void }>()
  const stopping = new AbortController()
  const giveUp = new AbortController()
  setMaxListeners(market.buyers.length * callsAtOnce, giveUp.signal)
  let callsPerSecond = options.callsPerSecond
  let served = 0
  let nextAt = performance.now()

  const note = (kind: string) => refusals.set(kind, (refusals.get(kind) ?? 0) + 1)
  const surprise = (text: string) => surprises.length < maxSurprises && surprises.push(text.slice(0, 300))

  /** Every call of all agents passes here: so many a second, evenly. */
  async function turn(): Promise<void> {
    const now = performance.now()
    nextAt = Math.max(nextAt + 1_000 / callsPerSecond, now - 1_000)
    if (nextAt > now) await delay(nextAt - now)
  }

  function agentOf(buyer: Buyer) {
    const current = new AsyncLocalStorage<Call>()
    const balanced = createBalancedFetch(gateways.map((name) => world.wires[`agents>${name}`].url))
    const payingFetch = createPayingFetch({
      grant: buyer.grant,
      sessionKey: buyer.sessionKey,
      answerTimeoutMs,
      createRequestId: () => current.getStore()?.requestId ?? '',
      async fetch(input, init) {
        const since = performance.now()
        const response = await balanced(input, init)
        if (response.ok) for (const one of waiting) if (one.since <= since) one.done()
        if (response.status >= 400) note(await kindOf(response.clone()))
        return response
      },
    })
    return (call: Call, url: string) => current.run(call, () => payingFetch(url))
  }

  async function buy(pay: ReturnType<typeof agentOf>, { grant }: Buyer, shop: Shop): Promise<void> {
    const { grantId } = grant
    const requestId = `req_${crypto.randomUUID().replaceAll('-', '')}`
    const call: Call = { requestId, grantId, payee: shop.payee, amountAtomic: priceAtomic, outcome: 'open', tries: 0 }
    const path = `/${shop.name}/${requestId}`
    calls.push(call)
    while (call.outcome === 'open' && !giveUp.signal.aborted) {
      call.tries++
      try {
        const response = await pay(call, world.urls['gateway-1'] + path)
        const text = await response.text()
        if (response.ok) {
          const { path: answered } = JSON.parse(text) as { path: string }
          if (!path.endsWith(answered)) surprise(`${path} was answered with ${text}`)
          call.outcome = 'served'
          served++
        } else if (response.status === 409 && text.includes('request.answered')) call.outcome = 'answered'
        else if (response.status < 500 && response.status !== 409) surprise(`${path}: ${response.status} ${text}`)
      } catch (error) {
        // A connection that broke is undici's TypeError, one that took too long a TimeoutError.
        const isExpected = error instanceof PaymentRefusedError ? error.retryable : isLostConnection(error)
        if (!isExpected) surprise(`${path}: ${error}`)
      }
      if (call.outcome === 'open') await delay(retryMs, undefined, { signal: giveUp.signal }).catch(() => {})
    }
  }

  async function work(buyer: Buyer, pay: ReturnType<typeof agentOf>): Promise<void> {
    for (let bought = 0; !stopping.signal.aborted; bought++) {
      await turn()
      const shop = buyer.shops[bought % buyer.shops.length]
      if (shop && !stopping.signal.aborted) await buy(pay, buyer, shop)
    }
  }
  const workers = market.buyers.flatMap((buyer) => {
    const pay = agentOf(buyer)
    return Array.from({ length: callsAtOnce }, () => work(buyer, pay))
  })

  return {
    calls,
    served: () => served,
    refusals,
    surprises,
    untilServed(timeoutMs) {
      return new Promise((resolve, reject) => {
        const end = () => {
          waiting.delete(one)
          clearTimeout(timer)
        }
        const timer = setTimeout(() => {
          end()
          reject(new Error(`No call was served in ${timeoutMs} ms.`))
        }, timeoutMs)
        const one = {
          since: performance.now(),
          done: () => {
            end()
            resolve()
          },
        }
        waiting.add(one)
      })
    },
    async untilTotal(total, timeoutMs) {
      const deadline = performance.now() + timeoutMs
      while (served < total) {
        if (performance.now() > deadline) throw new Error(`${served} of ${total} calls were served in ${timeoutMs} ms.`)
        await delay(100)
      }
    },
    setCallsPerSecond(rate) {
      callsPerSecond = rate
    },
    async stop(timeoutMs) {
      stopping.abort()
      const timer = setTimeout(() => giveUp.abort(), timeoutMs)
      await Promise.all(workers)
      clearTimeout(timer)
    },
  }
}

async function kindOf(response: Response): Promise<string> {
  const text = await response.text()
  try {
    return `${response.status} ${(JSON.parse(text) as { code?: string }).code}`
  } catch {
    return `${response.status} ${text.slice(0, 40)}`
  }
}

function isLostConnection(error: unknown): boolean {
  return error instanceof TypeError || (error instanceof DOMException && error.name === 'TimeoutError')
}
