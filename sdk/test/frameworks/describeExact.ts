import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { problem, type TestGateway } from '../../src/testing/startTestGateway.ts'
import { exactPayment } from '../../src/testing/testExact.ts'
import type { Behaviour, Priced } from './behaviour.ts'

/** What the tests of one framework share. */
export type ExactSetUp = {
  gateway(): TestGateway
  url(path: string, priced?: Priced): string
  /** How often a handler has run in this test. */
  calls(): number
  behave(next: () => Behaviour | Promise<Behaviour>): void
}

const soon = { timeout: 60_000, interval: 20 }
const good: Behaviour = { kind: 'answer', status: 200, body: { answer: 42 } }
let payments = 0

/** A payment of its own for each test. */
const newPayment = (identifier?: string) => exactPayment(`nonce-${++payments}`, identifier)

/** Payments by `exact`, which move between the handler and its answer, in any framework. */
export function describeExact({ gateway, url, calls, behave }: ExactSetUp): void {
  describe('what is paid by exact', () => {
    let ticketsBefore = 0
    beforeEach(() => {
      ticketsBefore = gateway().exact.tickets
    })
    afterEach(() => {
      gateway().exact.beforeSettling = () => undefined
    })

    const send = (payment: string, path = 'x', init: RequestInit = {}, priced: Priced = 'paid') =>
      fetch(url(path, priced), { ...init, headers: { 'payment-signature': payment } })
    /** Of this test: those of others may come late. */
    const reports = () =>
      gateway()
        .reports.map((report) => report.split(' x'))
        .filter(([, ticket]) => Number(ticket) > ticketsBefore)
        .map(([report]) => report)
    /** What has moved since. */
    const debits = () => {
      const before = gateway().exact.debits
      return () => gateway().exact.debits - before
    }

    test('has moved when the answer leaves, once, and its repetition gets the first answer', async () => {
      const moved = debits()
      behave(() => ({ kind: 'answer', status: 200, body: { run: calls() } }))
      for (const identifier of [undefined, `identifier-${payments}`]) {
        const payment = newPayment(identifier)
        const before = calls()
        const first = await send(payment)
        const receipt = first.headers.get('payment-response')
        expect([first.status, receipt]).toEqual([200, expect.stringMatching(/^moved /)])
        expect(reports().slice(0, 1)).toEqual(['settle'])
        await vi.waitFor(() => expect(reports()).toEqual(['settle', 'served']), soon)
        const again = await send(payment)
        expect([again.status, await again.text()]).toEqual([200, await first.text()])
        expect(again.headers.get('payment-response')).toBe(receipt)
        expect(calls() - before).toBe(1)
        gateway().reports.length = 0
      }
      expect(moved()).toBe(2)
    })

    test.each<[string, Behaviour, number]>([
      ['answers 404', { kind: 'answer', status: 404, body: { error: 'no such city' } }, 404],
      ['answers 503', { kind: 'answer', status: 503, body: { error: 'broken' } }, 503],
      ['throws', { kind: 'throw', message: 'no data' }, 500],
    ])('does not move when the handler %s, and pays for the next call', async (_, behaviour, status) => {
      const moved = debits()
      const payment = newPayment()
      behave(() => behaviour)
      const failed = await send(payment)
      expect([failed.status, failed.headers.get('payment-response')]).toEqual([status, null])
      if (behaviour.kind === 'answer') expect(await failed.json()).toEqual(behaviour.body)
      expect([reports(), moved()]).toEqual([['release'], 0])
      behave(() => good)
      expect((await send(payment)).status).toBe(200)
      expect(moved()).toBe(1)
    })

    test.each<[string, Behaviour]>([
      ['an answer', { kind: 'answer', status: 200, body: { secret: 'unpaid' } }],
      ['a stream', { kind: 'stream', parts: ['data: unpaid\n\n', 'data: unpaid\n\n'], endless: true, breaks: false }],
    ])('and cannot move gives the refusal, and nothing of %s', async (_, behaviour) => {
      const moved = debits()
      behave(() => behaviour)
      gateway().exact.beforeSettling = () => problem(503, 'exact.settlement_pending', { 'retry-after': '5' })
      const answer = await send(newPayment())
      expect([answer.status, answer.headers.get('retry-after')]).toEqual([503, '5'])
      expect(answer.headers.get('content-type')).toContain('application/problem+json')
      expect(await answer.json()).toMatchObject({ code: 'exact.settlement_pending' })
      expect([reports(), moved()]).toEqual([['settle'], 0])
      // The server goes on serving others.
      gateway().exact.beforeSettling = () => undefined
      behave(() => good)
      expect((await send(newPayment())).status).toBe(200)
    })

    test('lets nothing of a stream leave before it has moved, and then all as it comes', async () => {
      let move: () => void = () => {}
      gateway().exact.beforeSettling = () => new Promise((resolve) => (move = () => resolve(undefined)))
      behave(() => ({ kind: 'stream', parts: ['data: 1\n\n', 'data: 2\n\n'], endless: false, breaks: false }))
      let hasBegun = false
      const payment = newPayment()
      const asked = send(payment).then((answer) => {
        hasBegun = true
        return answer
      })
      await vi.waitFor(() => expect(reports()).toEqual(['settle']), soon)
      await new Promise((resolve) => setTimeout(resolve, 100))
      expect(hasBegun).toBe(false)
      move()
      const answer = await asked
      expect(answer.headers.get('payment-response')).toMatch(/^moved /)
      expect(await answer.text()).toBe('data: 1\n\ndata: 2\n\n')
      await vi.waitFor(() => expect(reports()).toEqual(['settle', 'served']), soon)
      expect(await (await send(payment)).text()).toBe('data: 1\n\ndata: 2\n\n')
    })

    test('of a client that leaves before there is an answer does not move', async () => {
      const moved = debits()
      let answerNow: (behaviour: Behaviour) => void = () => {}
      behave(() => new Promise((resolve) => (answerNow = resolve)))
      const leaving = new AbortController()
      const left = send(newPayment(), 'x', { signal: leaving.signal })
      await vi.waitFor(() => expect(calls()).toBe(1), soon)
      leaving.abort(new Error('enough'))
      await expect(left).rejects.toThrow('enough')
      // Time for the server to learn of it before the handler has an answer.
      await new Promise((resolve) => setTimeout(resolve, 2_000))
      answerNow(good)
      await vi.waitFor(() => expect(reports()).toEqual(['release']), soon)
      expect(moved()).toBe(0)
    })

    test('of a client that leaves while it moves is answered when it comes again, and has moved once', async () => {
      const moved = debits()
      behave(() => good)
      let move: () => void = () => {}
      gateway().exact.beforeSettling = () => new Promise((resolve) => (move = () => resolve(undefined)))
      const payment = newPayment()
      const leaving = new AbortController()
      const left = send(payment, 'x', { signal: leaving.signal })
      await vi.waitFor(() => expect(reports()).toEqual(['settle']), soon)
      leaving.abort(new Error('enough'))
      await expect(left).rejects.toThrow('enough')
      await new Promise((resolve) => setTimeout(resolve, 300))
      move()
      await expect.poll(async () => (await send(payment)).status, soon).toBe(200)
      expect(moved()).toBe(1)
    })

    test('and of which the gateway says nothing gives 503, and the same payment is answered later', async () => {
      const moved = debits()
      behave(() => good)
      gateway().exact.beforeSettling = () => Promise.reject(new Error('the gateway is gone'))
      const payment = newPayment()
      const answer = await send(payment)
      expect([answer.status, answer.headers.get('retry-after')]).toEqual([503, '5'])
      expect(await answer.json()).toMatchObject({ code: 'exact.settlement_unknown' })
      gateway().exact.beforeSettling = () => undefined
      await expect.poll(async () => (await send(payment)).status, soon).toBe(200)
      expect(moved()).toBe(1)
    })

    test('costs its fixed price where others pay by use, and the handler reports all the same', async () => {
      const moved = debits()
      behave(() => ({ kind: 'answer', status: 200, body: { words: 3 }, units: 3 }))
      const answer = await send(newPayment(), 'say', {}, 'units')
      expect([answer.status, await answer.json()]).toEqual([200, { words: 3 }])
      expect(answer.headers.get('payment-response')).toMatch(/^moved /)
      await vi.waitFor(() => expect(reports()).toEqual(['settle', 'served']), soon)
      expect([moved(), gateway().captures.length]).toEqual([1, gateway().captures.length])
    })
  })
}
