import { decodeHeader, settleResponseSchema } from '@protocolbanks/stream-protocol'
import { describe, expect, test, vi } from 'vitest'
import type { PayingFetch } from '../../src/index.ts'
import type { TestGateway } from '../../src/testing/startTestGateway.ts'
import type { Behaviour, Priced } from './behaviour.ts'

/** What the tests of one framework share. */
export type MeteredSetUp = {
  gateway(): TestGateway
  /** Another agent each time. */
  agent(): PayingFetch
  url(path: string, priced: Priced): string
  /** What was sent last, once more. */
  again(path: string, priced: Priced): Promise<Response>
  behave(behaviour: Behaviour): void
}

const soon = { timeout: 60_000, interval: 20 }
const post = { method: 'POST', headers: { 'content-type': 'application/json' } }

/** Prices by use, in any framework. */
export function describeMetered({ gateway, agent, url, again, behave }: MeteredSetUp): void {
  describe('what is priced by use', () => {
    const amountOf = (answer: Response) => {
      const read = decodeHeader(answer.headers.get('payment-response') ?? '', settleResponseSchema)
      return read.ok ? BigInt(read.value.amount ?? -1) : undefined
    }
    /** What the gateway has charged since. */
    const meter = () => {
      const before = gateway().charged
      return () => gateway().charged - before
    }

    test('costs as many units as the handler reports, as the receipt in the head says', async () => {
      const cost = meter()
      behave({ kind: 'answer', status: 200, body: { words: 3 }, units: 2.5 })
      const pay = agent()
      const answer = await pay(url('say', 'units'))
      expect([answer.status, await answer.json(), amountOf(answer)]).toEqual([200, { words: 3 }, 2_500n])
      expect([cost(), pay.receipts().at(-1)?.amountAtomic]).toEqual([2_500n, 2_500n])
      const second = await again('say', 'units')
      expect([second.status, await second.json(), amountOf(second)]).toEqual([200, { words: 3 }, 2_500n])
      expect(cost()).toBe(2_500n)
    })

    test('never costs more than its maximum, and nothing when nothing is reported', async () => {
      const cost = meter()
      behave({ kind: 'answer', status: 200, body: { words: 99 }, units: 99 })
      expect(amountOf(await agent()(url('much', 'units')))).toBe(5_000n)
      behave({ kind: 'answer', status: 404, body: { words: 0 } })
      const answer = await agent()(url('nothing', 'units'))
      expect([answer.status, amountOf(answer)]).toEqual([404, 0n])
      expect(cost()).toBe(5_000n)
    })

    test('costs the tokens that a JSON answer tells, of which no more are held than the request allows', async () => {
      const cost = meter()
      const usage = { prompt_tokens: 10, completion_tokens: 5 }
      behave({ kind: 'answer', status: 200, body: { text: 'hello', usage } })
      const body = JSON.stringify({ prompt: 'greet me', max_tokens: 100 })
      const answer = await agent()(url('chat', 'tokens'), { ...post, body })
      expect([await answer.json(), amountOf(answer)]).toEqual([{ text: 'hello', usage }, 30n])
      expect(cost()).toBe(30n)
      const { amountAtomic, holdAtomic } = JSON.parse(gateway().arrivals.at(-1)?.body ?? '')
      expect([amountAtomic, holdAtomic]).toEqual(['20000', `${body.length + 400}`])
    })

    test('costs the tokens that the last event of a stream tells, which passes as it is, with its receipt behind', async () => {
      const cost = meter()
      const parts = [
        'data: {"choices":[{"delta":{"content":"hel"}}]}\n\n',
        'data: {"choices":[{"delta":{"content":"lo"}}]}\n\n',
        'data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":2}}\n\n',
        'data: [DONE]\n\n',
      ]
      behave({ kind: 'stream', parts, endless: false, breaks: false })
      const pay = agent()
      const answer = await pay(url('chat', 'tokens'), { ...post, body: '{"stream":true}' })
      expect(answer.headers.get('content-type')).toContain('text/event-stream')
      const text = await answer.text()
      expect(text.startsWith(parts.join(''))).toBe(true)
      expect(text.slice(parts.join('').length)).toMatch(/^event: payment-receipt\ndata: \{.*"amount":"15".*\}\n\n$/)
      expect([cost(), pay.receipts().at(-1)?.amountAtomic]).toEqual([15n, 15n])
    })

    test('costs what was delivered of a stream whose reader leaves', async () => {
      const cost = meter()
      const captures = gateway().captures.length
      behave({
        kind: 'stream',
        parts: ['data: {"choices":[{"delta":{"content":"word"}}]}\n\n'],
        endless: true,
        breaks: false,
      })
      const leaving = new AbortController()
      const answer = await agent()(url('chat', 'tokens'), { ...post, body: '{"stream":true}', signal: leaving.signal })
      await answer.body?.getReader().read()
      leaving.abort()
      await vi.waitFor(() => expect(gateway().captures).toHaveLength(captures + 1), soon)
      // As many tokens as texts, of what never told its usage: some, and not all 2,000.
      expect(cost()).toBe(gateway().captures.at(-1))
      expect(cost()).toBeGreaterThanOrEqual(4n)
      expect(cost()).toBeLessThan(8_000n)
    })

    test('goes on from segment to segment while the agent sends vouchers, in between whole events', async () => {
      const cost = meter()
      const parts = Array.from({ length: 12 }, (_, index) => `data: ${index}\n\n`)
      behave({ kind: 'stream', parts, endless: false, breaks: false, unitsPerPart: 1 })
      const vouchers = gateway().vouchers.length
      // Nothing is left of what earlier calls held.
      gateway().authorized = gateway().charged
      const pay = agent()
      const text = await (await pay(url('say', 'units'))).text()
      expect(text.replaceAll(/event: payment-[^\n]*\ndata: [^\n]*\n\n/g, '')).toBe(parts.join(''))
      expect(text).toContain('event: payment-need-voucher\n')
      expect([cost(), pay.receipts().at(-1)?.amountAtomic]).toEqual([12_000n, 12_000n])
      expect(gateway().vouchers.length - vouchers).toBeGreaterThanOrEqual(2)
    })

    test('a handler that fails costs nothing, and its answer carries no receipt', async () => {
      const cost = meter()
      behave({ kind: 'answer', status: 503, body: { words: 0 }, units: 3 })
      const failed = await agent()(url('say', 'units'))
      behave({ kind: 'throw', message: 'no words' })
      const thrown = await agent()(url('say', 'units'))
      expect([failed.status, thrown.status]).toEqual([503, 500])
      for (const answer of [failed, thrown]) expect(answer.headers.get('payment-response')).toBe(null)
      expect(cost()).toBe(0n)
    })
  })
}
