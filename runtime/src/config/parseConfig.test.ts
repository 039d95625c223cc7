import { expect, test } from 'vitest'
import { z } from 'zod'
import { parseConfig } from './parseConfig.ts'
import { processFields } from './processFields.ts'

const schema = z.object({
  ...processFields({ port: 4000, traceRatio: 0.5 }),
  KEY: z.string().min(8),
  WEI: z.coerce.bigint(),
})
const options = { whose: 'The test', secrets: ['KEY'] } as const
const env = { KEY: 'a secret value', WEI: '12' }

test('names every problem at once and no value', () => {
  const parse = () => parseConfig(schema, { KEY: 'hidden', PORT: '70000', LOG_LEVEL: 'loud' }, options)
  expect(parse).toThrow(/The test's environment is not valid:\n.*PORT.*\n.*LOG_LEVEL.*\n.*KEY.*\n.*WEI/s)
  expect(parse).not.toThrow(/hidden|loud|70000/)
})

test('is frozen, has defaults, and as JSON shows no secret', () => {
  const config = parseConfig(schema, env, options)
  expect(config).toMatchObject({ PORT: 4000, OTEL_TRACES_SAMPLER_ARG: 0.5, KEY: env.KEY, WEI: 12n })
  expect(Object.isFrozen(config)).toBe(true)
  expect(JSON.parse(JSON.stringify(config))).toMatchObject({ KEY: '[redacted]', WEI: '12' })
})

test('crash points are refused in production, and where they are none', () => {
  expect(parseConfig(schema, { ...env, CRASH_AT: 'part.done:2' }, options).CRASH_AT).toBe('part.done:2')
  const inProduction = { ...env, CRASH_AT: 'part.done', NODE_ENV: 'production' }
  expect(() => parseConfig(schema, inProduction, options)).toThrow(/CRASH_AT.*production/)
  expect(() => parseConfig(schema, { ...env, CRASH_AT: 'nothing' }, options)).toThrow(/CRASH_AT/)
})
