import { execFile } from 'node:child_process'
import { access, readFile } from 'node:fs/promises'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { parser } from '@prometheus-io/lezer-promql'
import { beforeAll, describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { z } from 'zod'
import { readMetricsTable } from './testing/readMetricsTable.ts'

// Rules and dashboard stand on metrics that exist, and lead to a runbook that does.

const root = fileURLToPath(new URL('../../', import.meta.url))
const read = (path: string) => readFile(join(root, path), 'utf8')

/** Names of the series of every metric that processes of ours tell, and of their labels. */
const series = new Set(['up'])
const labels = new Set(['job', 'instance', 'le'])
beforeAll(async () => {
  for (const metric of readMetricsTable(await read('docs/metrics.md'))) {
    for (const suffix of metric.kind === 'histogram' ? ['_bucket', '_sum', '_count'] : [''])
      series.add(metric.name + suffix)
    for (const label of metric.labels) labels.add(label)
  }
  expect(series.size).toBeGreaterThan(40)
})

const durationSchema = z.string().regex(/^([0-9]+(ms|s|m|h|d|w|y))+$/)
/** https://prometheus.io/docs/prometheus/latest/configuration/alerting_rules/, and what we ask of every rule. */
const rulesSchema = z.strictObject({
  groups: z.array(
    z.strictObject({
      name: z.string().min(1),
      interval: durationSchema.optional(),
      rules: z
        .array(
          z.strictObject({
            alert: z.string().regex(/^[A-Z][A-Za-z]+$/),
            expr: z.string().min(1),
            for: durationSchema.optional(),
            labels: z.strictObject({ severity: z.enum(['page', 'ticket']) }),
            annotations: z.strictObject({ summary: z.string().min(10), todo: z.string().min(10), runbook: z.string() }),
          }),
        )
        .min(1),
    }),
  ),
})

async function readRules() {
  const { groups } = rulesSchema.parse(parse(await read('ops/prometheus/alerts.yaml')))
  return groups.flatMap(({ rules }) => rules)
}

const dashboardSchema = z.looseObject({
  uid: z.string(),
  title: z.string(),
  panels: z.array(
    z.looseObject({
      id: z.number(),
      type: z.enum(['row', 'stat', 'timeseries']),
      title: z.string(),
      gridPos: z.object({ h: z.number(), w: z.number(), x: z.number(), y: z.number() }),
      targets: z.array(z.looseObject({ refId: z.string(), expr: z.string(), legendFormat: z.string() })).default([]),
    }),
  ),
})

async function readPanels() {
  return dashboardSchema.parse(JSON.parse(await read('ops/grafana/dashboard.json'))).panels
}

/** What a PromQL expression names; `errors` are the places that are none. */
function inspect(expression: string) {
  const found = { metrics: [] as string[], labels: [] as string[], errors: [] as string[] }
  parser.parse(expression).iterate({
    enter({ type, from, to }) {
      const text = expression.slice(from, to)
      if (type.isError) found.errors.push(`at ${from}: ${expression.slice(from, from + 20)}`)
      if (type.name === 'Identifier') found.metrics.push(text)
      if (type.name === 'LabelName') found.labels.push(text)
    },
  })
  return found
}

function expectSound(where: string, expression: string): void {
  const found = inspect(expression)
  expect({ where, errors: found.errors }).toEqual({ where, errors: [] })
  expect(found.metrics.length).toBeGreaterThan(0)
  const unknown = found.metrics.filter((name) => !series.has(name) && !/^(process|nodejs)_/.test(name))
  expect({ where, unknown }).toEqual({ where, unknown: [] })
  expect({ where, labels: found.labels.filter((name) => !labels.has(name)) }).toEqual({ where, labels: [] })
}

describe('the alert rules', () => {
  test('are rules, each with its own name, what happened, what to do and how urgent it is', async () => {
    const names = (await readRules()).map(({ alert }) => alert)
    expect(names.length).toBeGreaterThan(15)
    expect(new Set(names).size).toBe(names.length)
  })

  test('are PromQL over metrics and labels that processes of ours tell', async () => {
    for (const { alert, expr } of await readRules()) expectSound(alert, expr)
  })

  test('lead to a section that is there', async () => {
    for (const { alert, annotations } of await readRules()) {
      const [path = '', anchor] = annotations.runbook.split('#')
      const headings = [...(await read(path)).matchAll(/^#+ (.*)$/gm)].map(([, heading = '']) =>
        heading
          .toLowerCase()
          .replaceAll(/[^\w\s-]/g, '')
          .replaceAll(' ', '-'),
      )
      if (anchor !== undefined)
        expect({ alert, headings }).toEqual({ alert, headings: expect.arrayContaining([anchor]) })
    }
  })

  test('are taken by promtool, where it is installed', async () => {
    const promtool = await findOnPath('promtool')
    if (promtool === undefined) return
    const { stdout } = await promisify(execFile)(promtool, ['check', 'rules', join(root, 'ops/prometheus/alerts.yaml')])
    expect(stdout).toContain('SUCCESS')
    await promisify(execFile)(promtool, ['check', 'config', join(root, 'ops/prometheus/prometheus.yaml')])
  })
})

describe('the dashboard', () => {
  test('has panels of their own ids that do not cover each other', async () => {
    const panels = await readPanels()
    expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length)
    for (const [index, { gridPos: one }] of panels.entries()) {
      expect(one.x + one.w).toBeLessThanOrEqual(24)
      for (const { gridPos: other } of panels.slice(index + 1)) {
        const isApart =
          one.x + one.w <= other.x ||
          other.x + other.w <= one.x ||
          one.y + one.h <= other.y ||
          other.y + other.h <= one.y
        expect({ one, other, isApart }).toEqual({ one, other, isApart: true })
      }
    }
  })

  test('asks for metrics and labels that processes of ours tell, and shows each of their kinds', async () => {
    const panels = await readPanels()
    for (const { title, targets } of panels) for (const { expr } of targets) expectSound(title, expr)
    const shown = panels.flatMap(({ targets }) => targets.flatMap(({ expr }) => inspect(expr).metrics))
    for (const service of ['gateway_', 'stream_', 'settlement_', 'paymaster_', 'sentinel_']) {
      expect(shown.some((name) => name.startsWith(service))).toBe(true)
    }
  })
})

test('Prometheus scrapes every kind of service, at names and ports of compose.yaml, and loads the rules', async () => {
  const config = parse(await read('ops/prometheus/prometheus.yaml'))
  expect(config.rule_files).toEqual(['alerts.yaml'])
  const services = Object.keys(parse(await read('compose.yaml'), { merge: true }).services)
  type Job = { job_name: string; dns_sd_configs: { names: string[]; port: number }[] }
  const jobs: Job[] = config.scrape_configs
  expect(jobs.map(({ job_name }) => job_name)).toEqual(['gateway', 'settlement', 'paymaster', 'sentinel'])
  const places = jobs.flatMap(({ dns_sd_configs }) => dns_sd_configs)
  expect(places.every(({ port }) => port === 8080)).toBe(true)
  const scraped = places.flatMap(({ names }) => names)
  expect(services).toEqual(expect.arrayContaining(scraped))
  expect(scraped).toEqual(['gateway-1', 'gateway-2', 'settlement', 'paymaster', 'sentinel'])
})

async function findOnPath(program: string): Promise<string | undefined> {
  for (const folder of (process.env.PATH ?? '').split(delimiter)) {
    const path = join(folder, program)
    if (
      await access(path).then(
        () => true,
        () => false,
      )
    )
      return path
  }
  return undefined
}
