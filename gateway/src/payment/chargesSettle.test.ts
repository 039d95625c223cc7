import { randomUUID } from 'node:crypto'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { problem } from '../problem.ts'
import { createChargesApi } from './chargesApi.ts'
import type { PaidRequest, Settled, Verdict } from './paymentGate.ts'
import { holdCharges } from './testing/holdCharges.ts'
import { createTestGateway } from './testing/testGateway.ts'

// What the charges API makes of a payment that moves before the answer leaves, whatever moves it.

type Answer = Record<string, unknown> & { http: number }

const settled: Settled = { ok: true, receipt: 'paid' }
const refused = (): Settled => ({
  ok: false,
  code: 'exact.settlement_pending',
  response: problem(503, 'exact.settlement_pending', 'Not yet.', { headers: { 'retry-after': '5' } }),
})

let api: ReturnType<typeof createChargesApi>
let asked: PaidRequest[]
/** What was done with the charge, in order. */
let done: string[]
let outcomes: string[]
let settle: () => Promise<Settled>
let verdict: () => Verdict

/** To be held to the document afterwards, where it takes no time from what a test waits for. */
const answers: [path: string, Response][] = []

beforeEach(() => open(60_000))
afterEach(async () => {
  for (const [path, response] of answers.splice(0)) await holdCharges(api, path, response)
})

/**
 * @param outcomeTimeoutMs How long a report may take.
 * @param upstreamTimeoutMs How long a call of the service may take.
 */
async function open(outcomeTimeoutMs: number, upstreamTimeoutMs = 1): Promise<void> {
  const gateway = createTestGateway({ service: { upstreamTimeoutMs } })
  await gateway.ready()
  asked = []
  outcomes = []
  // Its own: what other tests left open ends later.
  const log: string[] = []
  done = log
  settle = async () => settled
  let isSettled = false
  verdict = () => ({
    kind: 'serve',
    charge: {
      receipt: '',
      ticket: undefined,
      settleSeconds: 45,
      async settle() {
        log.push('settle')
        const end = await settle()
        isSettled = end.ok
        return end
      },
      served: () => void log.push('served'),
      broken: () => void log.push('owed'),
      async release() {
        log.push('release')
        return !isSettled
      },
    },
  })
  api = createChargesApi({
    gate: {
      async authorize(request) {
        asked.push(request)
        return verdict()
      },
    },
    services: gateway.services,
    merchantOf: async (authorization) => (authorization === 'Bearer pb_mine' ? 'mer_1' : 'mer_2'),
    createTicketId: randomUUID,
    outcomeTimeoutMs,
    onOutcome: (outcome) => outcomes.push(outcome),
  })
}

async function post(path: string, body: object = {}, key = 'pb_mine'): Promise<Answer> {
  const headers = { authorization: `Bearer ${key}`, 'content-type': 'application/json' }
  const response = await api.request(path, { method: 'POST', headers, body: JSON.stringify(body) })
  // What nobody expected is told by whoever this is mounted in.
  if (response.status === 500) return { http: 500 }
  answers.push([path, response.clone()])
  return { ...((await response.json()) as object), http: response.status }
}

async function charge(): Promise<string> {
  const url = 'https://merchant.test/weather'
  const request = { service: 'weather', method: 'GET', url, paymentSignature: 'signed', settles: true }
  const { outcome, ticket, headers, settleSeconds } = await post('/', request)
  expect({ outcome, headers, settleSeconds }).toEqual({ outcome: 'charged', headers: {}, settleSeconds: 45 })
  return String(ticket)
}

test('only a server that says it settles is offered what has to be', async () => {
  const url = 'https://merchant.test/weather'
  const request = { service: 'weather', method: 'GET', url, paymentSignature: null }
  for (const more of [{}, { settles: false }, { settles: true }]) await post('/', { ...request, ...more })
  expect(asked.map(({ settles }) => settles)).toEqual([undefined, undefined, true])
})

test('it is settled once, however often that is asked, and then served', async () => {
  const ticket = await charge()
  const answers = await Promise.all([post(`/${ticket}/settle`), post(`/${ticket}/settle`)])
  answers.push(await post(`/${ticket}/settle`))
  const expected = {
    outcome: 'settled',
    headers: { 'payment-response': 'paid', 'cache-control': 'private' },
    http: 200,
  }
  expect(answers).toEqual([expected, expected, expected])
  expect(await post(`/${ticket}/served`)).toEqual({ released: false, http: 200 })
  expect(done).toEqual(['settle', 'served'])
  expect(await post(`/${ticket}/settle`)).toMatchObject({ http: 404, code: 'ticket.unknown' })
})

test('what cannot be settled is answered, and is over: neither a report nor its time changes anything', async () => {
  settle = async () => refused()
  const ticket = await charge()
  const answer = await post(`/${ticket}/settle`)
  expect(answer).toMatchObject({ outcome: 'answer', status: 503, headers: { 'retry-after': '5' } })
  expect(JSON.parse(String(answer.body))).toMatchObject({ code: 'exact.settlement_pending' })
  expect(await post(`/${ticket}/settle`)).toEqual(answer)
  expect(await post(`/${ticket}/served`)).toMatchObject({ http: 409, code: 'ticket.not_settled' })
  expect(await post(`/${ticket}/release`)).toEqual({ released: false, http: 200 })
  expect(done).toEqual(['settle'])
  expect(outcomes[0]).toBe('exact.settlement_pending')
})

test('nothing is served that is not settled', async () => {
  const ticket = await charge()
  expect(await post(`/${ticket}/served`)).toMatchObject({ http: 409, code: 'ticket.not_settled' })
  expect(await post(`/${ticket}/settle`)).toMatchObject({ outcome: 'settled' })
  expect(done).toEqual(['settle'])
})

test('a failed call is released, and nobody pays', async () => {
  const ticket = await charge()
  expect(await post(`/${ticket}/release`)).toEqual({ released: true, http: 200 })
  expect(await post(`/${ticket}/settle`)).toMatchObject({ http: 404 })
  expect(done).toEqual(['release'])
})

test('a call that is given up while it is settled, or after, is owed', async () => {
  let end: (settled: Settled) => void = () => {}
  settle = () => new Promise((resolve) => (end = resolve))
  const ticket = await charge()
  const settling = post(`/${ticket}/settle`)
  await expect.poll(() => done).toEqual(['settle'])
  expect(await post(`/${ticket}/release`)).toEqual({ released: false, http: 200 })
  expect(done).toEqual(['settle'])
  end(settled)
  expect(await settling).toMatchObject({ outcome: 'settled' })
  await expect.poll(() => done).toEqual(['settle', 'owed'])

  settle = async () => settled
  const second = await charge()
  await post(`/${second}/settle`)
  expect(await post(`/${second}/release`)).toEqual({ released: false, http: 200 })
  await expect.poll(() => done).toEqual(['settle', 'owed', 'settle', 'owed'])
})

test('what nobody reports costs nothing before it is settled, and is owed after', async () => {
  await open(3_000)
  await charge()
  await expect.poll(() => done).toEqual(['release'])
  const ticket = await charge()
  await post(`/${ticket}/settle`)
  await expect.poll(() => done).toEqual(['release', 'settle', 'owed'])
})

test('a settlement that takes longer than a report may is not given up', async () => {
  await open(3_000)
  settle = async () => {
    await new Promise((resolve) => setTimeout(resolve, 4_000))
    return settled
  }
  const ticket = await charge()
  expect(await post(`/${ticket}/settle`)).toMatchObject({ outcome: 'settled' })
  expect(await post(`/${ticket}/served`)).toMatchObject({ http: 200 })
  expect(done).toEqual(['settle', 'served'])
})

test('a handler that may take longer than a report does so', async () => {
  await open(100, 600_000)
  const ticket = await charge()
  await new Promise((resolve) => setTimeout(resolve, 500))
  expect(await post(`/${ticket}/settle`)).toMatchObject({ outcome: 'settled' })
  expect(done).toEqual(['settle'])
})

test('no other merchant settles it', async () => {
  const ticket = await charge()
  expect(await post(`/${ticket}/settle`, {}, 'pb_other')).toMatchObject({ http: 404, code: 'ticket.unknown' })
  expect(done).toEqual([])
})

test('an answer that the gateway itself gave is named as given, with its receipt', async () => {
  verdict = () => ({ kind: 'replay', answer: { status: 200, headers: [], body: 'ours' }, receipt: 'paid' })
  const url = 'https://merchant.test/weather'
  const answer = await post('/', { service: 'weather', method: 'GET', url, paymentSignature: 'signed' })
  expect(answer).toMatchObject({ outcome: 'answer', status: 409, headers: { 'payment-response': 'paid' } })
  expect(JSON.parse(String(answer.body))).toMatchObject({ code: 'request.answered' })
})
