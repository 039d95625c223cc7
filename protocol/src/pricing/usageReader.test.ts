import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createUsageReader, readAll } from './usageReader.ts'

const encoder = new TextEncoder()

/** What a reader finds in this text when it comes in pieces of these sizes. */
function read(text: string, contentType: string, sizes: readonly number[] = [Number.POSITIVE_INFINITY]) {
  const reader = createUsageReader({ contentType })
  const bytes = encoder.encode(text)
  for (let at = 0, turn = 0; at < bytes.length; turn++) {
    const size = sizes[turn % sizes.length] ?? 1
    readAll(reader, bytes.subarray(at, at + size))
    at += size
  }
  return { ...reader.usage, texts: reader.texts }
}

const sizes = fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 8 })
const counts = fc.tuple(fc.nat(), fc.nat())

test("finds a JSON answer's usage wherever it is cut, whatever stands around it", () => {
  fc.assert(
    fc.property(fc.dictionary(fc.string(), fc.jsonValue()), counts, sizes, (rest, [input, output], sizes) => {
      const { usage: _, message: __, response: ___, ...around } = rest
      const answer = {
        ...around,
        choices: [{ usage: { prompt_tokens: 9, completion_tokens: 9 }, text: '"usage":{"prompt_tokens":8}' }],
        usage: { prompt_tokens: input, completion_tokens: output, details: { reasoning: [1, 2, { a: '}' }] } },
        after: around,
      }
      for (const text of [JSON.stringify(answer), JSON.stringify(answer, null, 2)]) {
        expect(read(text, 'application/json', sizes)).toMatchObject({ inputTokens: input, outputTokens: output })
      }
    }),
  )
})

const lineEnd = fc.constantFrom('\n', '\r\n', '\r')

test('finds the last usage of a stream of events wherever it is cut, for every end of line', () => {
  const text = fc.string().map((content) => ({ choices: [{ delta: { content } }], usage: null }))
  const events = fc.array(text, { maxLength: 8 })
  fc.assert(
    fc.property(events, counts, lineEnd, sizes, fc.boolean(), (events, [input, output], end, sizes, isSplit) => {
      const last = { choices: [], usage: { prompt_tokens: input, completion_tokens: output } }
      const frames = [...events, { usage: { prompt_tokens: 1, completion_tokens: 1 } }, last].map((event) => {
        // Lines of data are joined again by the reader.
        const lines = isSplit ? JSON.stringify(event, null, 1).split('\n') : [JSON.stringify(event)]
        return [`: a comment`, 'event: x', ...lines.map((line) => `data: ${line}`), '', ''].join(end)
      })
      const stream = [...frames, `data: [DONE]${end}${end}`].join('')
      expect(read(stream, 'text/event-stream; charset=utf-8', sizes)).toEqual({
        inputTokens: input,
        outputTokens: output,
        texts: events.length,
      })
    }),
  )
})

test("reads Anthropic's usage, which begins with the message and grows with it, with what its cache read", () => {
  const stream = [
    {
      type: 'message_start',
      message: { id: 'm', usage: { input_tokens: 20, cache_read_input_tokens: 5, output_tokens: 1 } },
    },
    { type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text: 'Hello' } },
    { type: 'message_delta', delta: { stop_reason: 'end_turn' }, usage: { output_tokens: 15 } },
    { type: 'message_stop' },
  ].map((event) => `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`)
  expect(read(stream.join(''), 'text/event-stream')).toMatchObject({ inputTokens: 25, outputTokens: 15 })
})

test("reads the usage of OpenAI's Responses", () => {
  const event = { type: 'response.completed', response: { usage: { input_tokens: 3, output_tokens: 4 } } }
  const stream = `event: response.completed\ndata: ${JSON.stringify(event)}\n\n`
  expect(read(stream, 'text/event-stream')).toMatchObject({ inputTokens: 3, outputTokens: 4 })
})

test.each([
  '{"usage":null}',
  '{"usage":{"prompt_tokens":-1,"completion_tokens":1.5}}',
  '{"usage":{"prompt_tokens":"3"}}',
  '{"usage":[1,2]}',
  '[{"usage":{"prompt_tokens":1}}]',
  '{"a":{"usage":{"prompt_tokens":1}}}',
  'usage',
  '}}}]]]"',
  `{"usage":{"x":"${'y'.repeat(20_000)}","prompt_tokens":1}}`,
])('finds no usage in %s', (text) => {
  expect(read(text, 'application/json')).toEqual({ texts: 0 })
})

test('takes any bytes for what they are: no usage, and no exception', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), fc.boolean(), (bytes, isEvents) => {
      const reader = createUsageReader({ contentType: isEvents ? 'text/event-stream' : 'application/json' })
      readAll(reader, bytes)
      expect(reader.usage).toBeUndefined()
    }),
  )
})

test('stops at the end of each event, and at the end of what has come of one', () => {
  const reader = createUsageReader({ contentType: 'text/event-stream' })
  const bytes = encoder.encode('data: a\n\ndata: b\n\ndata: c')
  expect(reader.read(bytes)).toEqual({ to: 9, isEvent: true })
  expect(reader.read(bytes, 9)).toEqual({ to: 18, isEvent: true })
  expect(reader.read(bytes, 18)).toEqual({ to: 25, isEvent: false })
})
