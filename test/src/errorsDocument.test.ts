import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { beforeAll, expect, test } from 'vitest'
import { listFiles } from './testing/listFiles.ts'

// docs/errors.md and the sources list the same codes.

const root = fileURLToPath(new URL('../../', import.meta.url))
const packages =
  'protocol contracts db runtime rules sdk mcp cli bundler-client paymaster settlement gateway sentinel'.split(' ')

/** Quoted like a code, but no error that leaves a package: outcomes that its caller turns into something else. */
const outcomes = new Set([
  'request.duplicate',
  'capture.too_late',
  'budget.merchant',
  'budget.kind',
  'budget.sender',
  // A topic of the outbox.
  'reconciliation.difference',
  'usage.quarantined',
  // Types of webhooks, docs/webhooks.md. Those about grants have the names of refusals.
  'settlement.confirmed',
  'settlement.reopened',
  'settlement.failed',
  'settlement.dead',
  'grant.unfrozen',
  'grant.created',
  'grant.exhausted',
  'session_key.registered',
  'incident.opened',
  'incident.stopped',
  'incident.closed',
  'reserve.withdrawal_requested',
  'webhook_endpoint.disabled',
  'webhook_endpoint.test',
  // Why a guardian cannot stop a grant, and what found it when it was its owner.
  'guardian.not_named',
  'guardian.missing',
  'grant.not_on_chain',
  'owner.asked',
  // What the sentinel finds, docs/sentinel.md.
  'amount.above_average',
  'calls.per_minute',
  'budget.low',
  'funds.low',
  'behaviour.unusual',
  'half_open.amount',
  'half_open.calls',
  // Attributes of traces (OpenTelemetry).
  'service.name',
  'service.namespace',
  'url.path',
  // Settings of a Postgres session.
  'stream.actor',
  'stream.attempt',
  'stream.request_id',
  'stream.services_file',
  'stream.merchant_id',
  'stream.account',
  'stream.migrate',
  'stream.sponsorship',
  'stream.lane',
])

let document: string
/** Where each code is written, by code. */
let codes: Map<string, string>
/** Where each anchor of the document is linked, by anchor. */
let anchors: Map<string, string>

beforeAll(async () => {
  document = await readFile(join(root, 'docs/errors.md'), 'utf8')
  codes = new Map()
  anchors = new Map()
  const isSource = new RegExp(`^(${packages.join('|')})/src/(?!.*testing/).*(?<!\\.test)\\.ts$`)
  for (const file of (await listFiles(root)).filter((path) => isSource.test(path))) {
    const text = (await readFile(join(root, file), 'utf8')).replaceAll(/crashPoint(?:\?\.)?\('[^']*'\)/g, '')
    for (const [, code] of text.matchAll(/'([a-z]+(?:_[a-z]+)*\.[a-z]+(?:_[a-z]+)*)'/g)) {
      if (code && !/\.(lua|json)$/.test(code) && !outcomes.has(code)) codes.set(code, file)
    }
    for (const [, code] of text.matchAll(/problem\(\s*\d{3},\s*'([a-z_]+)'/g)) if (code) codes.set(code, file)
    for (const [, anchor] of text.matchAll(/\/errors#([a-z-]+)/g)) if (anchor) anchors.set(anchor, file)
  }
})

test('docs/errors.md explains every code of the sources, at the anchor that is the code with dashes', () => {
  expect(codes.size).toBeGreaterThan(100)
  const missing = [...codes].filter(([code]) => !document.includes(`<a id="${anchorOf(code)}"></a>\`${code}\``))
  expect(missing).toEqual([])
})

test('docs/errors.md explains no code twice and none that is gone', () => {
  const explained = [...document.matchAll(/<\/a>`([a-z_.]+)`/g)].map(([, code = '']) => code)
  expect(explained.filter((code, index) => explained.indexOf(code) !== index)).toEqual([])
  expect(explained.filter((code) => !codes.has(code))).toEqual([])
})

test('docs/errors.md has every anchor that an error links to', () => {
  expect(anchors.size).toBeGreaterThan(20)
  const missing = [...anchors].filter(([anchor]) => !document.includes(`<a id="${anchor}"></a>`))
  expect(missing).toEqual([])
})

function anchorOf(code: string): string {
  return code.replaceAll(/[._]/g, '-')
}
