import { expect, test } from 'vitest'
import { createLogger } from './createLogger.ts'
import { rootOf } from './tracing/traceContext.ts'
import { runInTrace } from './tracing/traceScope.ts'

function open(options: { secrets?: string[]; level?: string } = {}) {
  const lines: string[] = []
  const destination = { write: (line: string) => void lines.push(line) }
  const logger = createLogger({ service: 'test', level: 'info', destination, ...options })
  return { logger, lines, last: () => JSON.parse(lines.at(-1) ?? '{}') }
}

test('a line is one JSON object with level, time, service and what was given', () => {
  const { logger, lines, last } = open()
  logger.warn({ grantId: '0x1' }, 'something')
  expect(last()).toEqual({
    level: 'warn',
    time: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
    service: 'test',
    grantId: '0x1',
    msg: 'something',
  })
  expect(lines.at(-1)).toMatch(/^\{.*\}\n$/)
})

test('within a trace every line carries its id and what the work is about, also after an await, and none outside', async () => {
  const { logger, last } = open()
  const context = rootOf('a'.repeat(32), { isSampled: false })
  await runInTrace(context, { settlement: 'stl_1' }, async () => {
    await new Promise((resolve) => setTimeout(resolve, 1))
    logger.info('inside')
    expect(last()).toMatchObject({ traceId: context.traceId, settlement: 'stl_1' })
    runInTrace(rootOf('b'.repeat(32), { isSampled: false }), { userOpHash: '0x2' }, () => logger.info('deeper'))
    expect(last()).toMatchObject({ traceId: 'b'.repeat(32), settlement: 'stl_1', userOpHash: '0x2' })
  })
  logger.info('outside')
  expect(last()).not.toHaveProperty('traceId')
})

test('no line shows a configured secret: not in fields, errors, messages of libraries, nor the password of an address', () => {
  const key = '0x4c0883a69102937d6231471b5dbb6204fe512961708279f1'
  const url = 'postgres://stream:pass%2Fword%22s@db.internal:5432/stream'
  const { logger, lines } = open({ secrets: [key, url] })
  logger.info({ key, nested: { url } }, `cannot reach ${url}`)
  logger.error({ err: new Error(`URL: ${url}\nRequest body: {"key":"${key}"}`) }, 'failed')
  logger.error({ user: 'stream', password: 'pass/word"s' }, 'refused')
  const text = lines.join('')
  for (const secret of [key, url, 'pass%2Fword%22s', 'pass/word']) expect(text).not.toContain(secret)
  for (const line of lines) expect(() => JSON.parse(line)).not.toThrow()
  expect(text).toContain('[redacted]')
})
