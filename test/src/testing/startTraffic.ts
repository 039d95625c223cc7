import { setTimeout as delay } from 'node:timers/promises'
import { createPayingFetch, PaymentRefusedError } from '@protocolbanks/stream-sdk'
import type { Budget } from './giveBudget.ts'
import type { Shop } from './openShop.ts'

/** An agent that calls a shop, several calls in flight, until it is stopped. */
export type Traffic = {
  /** Answers that arrived whole. */
  served(): number
  /** Moment of the last of them, in milliseconds since 1970. */
  lastServedAt(): number
  /** How often each other answer came, as `status code`, the tries of one call counted one by one. */
  refusals: Map<string, number>
  /** Answers above 399 that are not problem+json with a code, and errors that are no refusal and no lost connection. */
  surprises: string[]
  /** Until so many more calls were served. @throws after two minutes, with what came instead */
  untilServed(more: number): Promise<void>
  /** Until an answer of this kind has come, `status code`. @throws after two minutes */
  untilRefused(kind: string): Promise<void>
  /** Ends when the last call has ended. */
  stop(): Promise<void>
}

const inFlight = 4
/** Short of the budget. */
const maxCalls = 4_500
const waitMs = 120_000
/** Longer with every call: an agent calls on for minutes, however fast its calls and however slow what the test waits for. */
const pauseMs = (calls: number) => 20 + calls / 10

export function startTraffic(shop: Shop, { agentGrant, sessionPrivateKey }: Budget): Traffic {
  const refusals = new Map<string, number>()
  const surprises: string[] = []
  const stopping = new AbortController()
  let served = 0
  let lastServedAt = 0
  let calls = 0

  const payingFetch = createPayingFetch({
    grant: agentGrant,
    sessionKey: sessionPrivateKey,
    answerTimeoutMs: 60_000,
    async fetch(input, init) {
      const response = await fetch(input, init)
      if (response.status >= 400) await note(response.clone())
      return response
    },
  })

  async function note(response: Response): Promise<void> {
    const text = await response.text()
    const { code } = (response.headers.get('content-type') === 'application/problem+json' ? JSON.parse(text) : {}) as {
      code?: string
    }
    if (code === undefined) surprises.push(`${response.status} ${text.slice(0, 200)}`)
    const kind = `${response.status} ${code}`
    refusals.set(kind, (refusals.get(kind) ?? 0) + 1)
  }

  async function work(): Promise<void> {
    while (!stopping.signal.aborted && calls++ < maxCalls) {
      try {
        const response = await payingFetch(`${shop.url}/${calls}`)
        await response.json()
        if (response.ok) {
          served++
          lastServedAt = Date.now()
        }
      } catch (error) {
        // A connection that broke is undici's TypeError.
        if (!(error instanceof PaymentRefusedError || error instanceof TypeError)) surprises.push(String(error))
      }
      await delay(pauseMs(calls))
    }
  }
  const workers = Array.from({ length: inFlight }, work)

  async function until(what: string, isTrue: () => boolean): Promise<void> {
    const deadline = Date.now() + waitMs
    while (!isTrue()) {
      if (Date.now() > deadline) {
        const seen = JSON.stringify([...refusals])
        throw new Error(`Not ${what} within ${waitMs} ms. Served: ${served}. Other answers: ${seen}, ${surprises}`)
      }
      await delay(20)
    }
  }

  return {
    served: () => served,
    lastServedAt: () => lastServedAt,
    refusals,
    surprises,
    untilServed(more) {
      const goal = served + more
      return until(`${more} more calls served`, () => served >= goal)
    },
    untilRefused(kind) {
      const before = refusals.get(kind) ?? 0
      return until(`answered ${kind}`, () => (refusals.get(kind) ?? 0) > before)
    },
    async stop() {
      stopping.abort()
      await Promise.all(workers)
    },
  }
}
