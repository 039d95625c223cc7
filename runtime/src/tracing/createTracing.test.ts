import { pino } from 'pino'
import { afterEach, expect, test } from 'vitest'
import { startOtlpReceiver } from '../testing/startOtlpReceiver.ts'
import { createTracing } from './createTracing.ts'
import { formatTraceparent, parseTraceparent, rootOf } from './traceContext.ts'

const logger = pino({ level: 'silent' })
const traceId = '0af7651916cd43dd8448eb211c80319c'
const stops: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop()
})

async function open({ ratio = 1 } = {}) {
  const receiver = await startOtlpReceiver()
  stops.push(receiver.stop)
  return { receiver, tracing: createTracing({ service: 'test', endpoint: receiver.url, ratio, logger }) }
}

test('spans arrive at a receiver with their ids, parents, times, attributes, links and failures', async () => {
  const { receiver, tracing } = await open()
  const caller = parseTraceparent(`00-${traceId}-b7ad6b7169203331-01`)
  if (!caller) throw new Error('a valid traceparent was not read')
  const outer = tracing.start('outer', {
    in: caller,
    kind: 'server',
    attributes: { 'a.b.c': 7 },
    startTimeMs: 1_700_000_000_000,
  })
  const other = rootOf('f'.repeat(32), { isSampled: true })
  outer.child('inner', { links: [other] }).end('it broke')
  outer.end()
  await tracing.shutdown()

  const [inner, first] = receiver.spans
  expect(first).toMatchObject({
    service: 'protocol-banks-test',
    name: 'outer',
    traceId,
    parentSpanId: 'b7ad6b7169203331',
    startMs: 1_700_000_000_000,
    attributes: { 'a.b.c': 7 },
    failure: undefined,
  })
  expect(inner).toMatchObject({
    name: 'inner',
    traceId,
    parentSpanId: first?.spanId,
    links: [other.traceId],
    failure: 'it broke',
  })
})

test('the root of a trace of ours has the ids that everybody who continues it expects', async () => {
  const { receiver, tracing } = await open()
  const root = rootOf(traceId, { isSampled: true })
  const span = tracing.start('root', { in: root, isRoot: true })
  expect(span.context).toEqual(root)
  span.end()
  tracing.start('elsewhere', { in: root }).end()
  await tracing.shutdown()
  expect(receiver.spans).toMatchObject([
    { name: 'root', traceId, spanId: root.spanId, parentSpanId: undefined },
    { name: 'elsewhere', traceId, parentSpanId: root.spanId },
  ])
})

test('what is not sampled is not sent, and passes on the context that it was given', async () => {
  const { receiver, tracing } = await open()
  const context = rootOf(traceId, { isSampled: false })
  const span = tracing.start('silent', { in: context, isRoot: true })
  expect(span.child('inner').context).toEqual(context)
  span.end()
  await tracing.shutdown()
  expect(receiver.spans).toEqual([])
})

test('the ratio decides by the trace id alone: about that share, the same in every process', async () => {
  const { tracing } = await open({ ratio: 0.2 })
  const { tracing: other } = await open({ ratio: 0.2 })
  const ids = Array.from({ length: 2_000 }, (_, index) => `${(index * 2_654_435_761).toString(16).padStart(32, '5')}`)
  const sampled = ids.filter(tracing.isSampled)
  expect(sampled).toEqual(ids.filter(other.isSampled))
  expect(sampled.length / ids.length).toBeGreaterThan(0.1)
  expect(sampled.length / ids.length).toBeLessThan(0.3)
})

test('without a receiver nothing is sampled, and nothing has to be stopped', async () => {
  const tracing = createTracing({ service: 'test', endpoint: undefined, ratio: 1, logger })
  expect(tracing.isSampled(traceId)).toBe(false)
  await tracing.shutdown()
})

test('a receiver that is gone is reported once, and stopping does not wait for it', async () => {
  const lines: string[] = []
  const log = pino({}, { write: (line) => lines.push(line) })
  const { receiver, tracing: _ } = await open()
  await receiver.stop()
  const tracing = createTracing({ service: 'test', endpoint: receiver.url, ratio: 1, logger: log })
  tracing.start('lost', { in: rootOf(traceId, { isSampled: true }) }).end()
  const startedAt = performance.now()
  await tracing.shutdown()
  expect(performance.now() - startedAt).toBeLessThan(10_000)
  await expect.poll(() => lines.length).toBe(1)
  expect(lines[0]).toContain('the receiver of traces takes no spans')
})

test.each([undefined, '', 'nonsense', `00-${'0'.repeat(32)}-b7ad6b7169203331-01`, `ff-${traceId}-b7ad6b7169203331-01`])(
  'traceparent %j is none',
  (header) => expect(parseTraceparent(header)).toBeUndefined(),
)

test('traceparent is read and written as W3C Trace Context says', () => {
  const header = `00-${traceId}-b7ad6b7169203331-00`
  const context = parseTraceparent(header)
  expect(context).toEqual({ traceId, spanId: 'b7ad6b7169203331', isSampled: false })
  expect(context && formatTraceparent(context)).toBe(header)
})
