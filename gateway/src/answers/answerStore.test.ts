import { expect, test } from 'vitest'
import { type Answer, createAnswerStore } from './answerStore.ts'

const bytes = Uint8Array.from({ length: 300 }, (_, index) => (index * 7) % 256)
const headers: Answer['headers'] = [
  ['content-type', 'text/plain'],
  ['set-cookie', 'a="1"'],
  ['set-cookie', 'b=\u00e9'],
]
const bodies: Record<string, Answer['body']> = {
  nothing: null,
  'an empty text': '',
  text: 'Grüße, 天気 😀 \u0000',
  bytes,
  'a part of other bytes': bytes.subarray(100, 110),
  'no bytes': new Uint8Array(),
}

test.each(Object.entries(bodies))('an answer (%s) is found as it was given', async (_, body) => {
  const store = createAnswerStore({ maxBytes: 10_000, ttlMs: 60_000 })
  store.begin('a')({ state: 'kept', answer: { status: 201, headers, body }, amount: 7n })
  store.begin('b')({ state: 'kept', answer: { status: 200, headers: [], body } })
  expect(await store.find('a', 0)).toStrictEqual({ state: 'kept', answer: { status: 201, headers, body }, amount: 7n })
  expect(await store.find('b', 0)).toStrictEqual({ state: 'kept', answer: { status: 200, headers: [], body } })
})

test('who changes what was given or found changes nothing of what is kept', async () => {
  const store = createAnswerStore({ maxBytes: 10_000, ttlMs: 60_000 })
  const body = Uint8Array.of(1, 2, 3)
  store.begin('a')({ state: 'kept', answer: { status: 200, headers: [], body } })
  body.fill(0)
  const first = await store.find('a', 0)
  if (typeof first === 'object' && first.state === 'kept') first.answer.headers.push(['x-own', 'yes'])
  expect(await store.find('a', 0)).toMatchObject({ answer: { headers: [], body: Uint8Array.of(1, 2, 3) } })
})

test('headers and the bytes of letters count: so many large ones are not kept', async () => {
  const store = createAnswerStore({ maxBytes: 10_000, ttlMs: 60_000 })
  const keep = (key: string, answer: Partial<Answer>) =>
    store.begin(key)({ state: 'kept', answer: { status: 200, headers: [], body: null, ...answer } })
  keep('headers', { headers: [['x-own', 'a'.repeat(6_000)]] })
  expect(await store.find('headers', 0)).toMatchObject({ state: 'kept' })
  keep('letters', { body: '天'.repeat(2_000) })
  expect(await store.find('letters', 0)).toMatchObject({ state: 'kept' })
  expect(await store.find('headers', 0)).toBeUndefined()
})
