import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { type Stack, startStack } from '@protocolbanks/stream-dev'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { readMetricsTable } from './testing/readMetricsTable.ts'

// docs/metrics.md says what the processes tell.

const services = ['gateway', 'settlement', 'paymaster', 'sentinel'] as const

let stack: Stack
beforeAll(async () => {
  stack = await startStack({ withSentinel: true })
}, 240_000)
afterAll(() => stack?.stop(), 240_000)

type Told = { name: string; kind: string; service: string }

/** The `# TYPE` lines of the Prometheus text format, without what prom-client tells of every process. */
async function toldBy(service: (typeof services)[number]): Promise<Told[]> {
  const url = stack[service]?.url
  const response = await fetch(`${url}/metrics`)
  expect({ service, status: response.status }).toEqual({ service, status: 200 })
  const types = [...(await response.text()).matchAll(/^# TYPE (\w+) (\w+)$/gm)]
  return types
    .map(([, name = '', kind = '']) => ({ name, kind, service }))
    .filter(({ name }) => !/^(process|nodejs)_/.test(name))
}

test('docs/metrics.md lists every metric with its kind and its process, and none that nobody tells', async () => {
  const told = (await Promise.all(services.map(toldBy))).flat()
  const text = await readFile(fileURLToPath(new URL('../../docs/metrics.md', import.meta.url)), 'utf8')
  const listed = readMetricsTable(text).map(({ name, kind, service }) => ({ name, kind, service }))
  const sorted = (metrics: Told[]) => metrics.map(({ service, name, kind }) => `${service} ${name} ${kind}`).toSorted()
  expect(sorted(listed)).toEqual(sorted(told))
})

test('metrics out of Postgres cost one query however often they are scraped, and stand still when it is gone', async () => {
  const scrape = async () => {
    const text = await (await fetch(`${stack.settlement.url}/metrics`)).text()
    const [, age = 'NaN'] = /^stream_figures_age_seconds (\S+)$/m.exec(text) ?? []
    return { age: Number(age), hasOutstanding: /^stream_outstanding_atomic\{source="allowance"\} 0$/m.test(text) }
  }
  const scrapes = await Promise.all(Array.from({ length: 100 }, scrape))
  for (const { age, hasOutstanding } of scrapes) {
    expect(age).toBeLessThan(60)
    expect(hasOutstanding).toBe(true)
  }
  await stack.postgres.stop()
  await expect.poll(async () => (await scrape()).age, { timeout: 120_000, interval: 1_000 }).toBeGreaterThan(6)
  expect((await scrape()).hasOutstanding).toBe(true)
}, 300_000)
