import type { AlertFacts } from '@protocolbanks/stream-db'
import { describe, expect, test } from 'vitest'
import { type AlertToCompose, composeAlert } from './composeAlert.ts'
import { renderChat } from './renderChat.ts'
import { renderMail } from './renderMail.ts'

const at = new Date('2026-01-01T12:00:00.000Z')
const account = '0x00000000000000000000000000000000000000AA'
const payee = '0x00000000000000000000000000000000000000bB'

type Change = { incident?: Partial<AlertFacts['incident']>; stop?: Partial<NonNullable<AlertFacts['stop']>> | null }

function arrange({ incident, stop }: Change = {}, more: Partial<AlertFacts> = {}): AlertFacts {
  return {
    incident: {
      id: 'inc_1',
      grantId: `0x${'11'.repeat(32)}`,
      account,
      rule: 'calls.per_minute',
      ruleVersion: 3,
      action: 'freeze',
      severity: 'critical',
      ruleId: null,
      state: 'open',
      payee,
      requestId: 'r1',
      chargedAt: at,
      inputs: {},
      explanation: 'It made 101 calls within a minute.',
      findings: 1,
      openedAt: at,
      lastFoundAt: at,
      acknowledgedAt: null,
      acknowledgedBy: null,
      closedAt: null,
      voucherPolicy: 'hold',
      accepted: 0n,
      ...incident,
    },
    stop: stop === null ? undefined : { ...dueStop, ...stop },
    ruleMerchantId: null,
    sessionKey: '0x1234567890123456789012345678901234567890',
    token: payee,
    owed: 1_500_000n,
    atRisk: 48_500_000n,
    decisions: [],
    ...more,
  }
}

const dueStop: NonNullable<AlertFacts['stop']> = {
  id: 'stp_1',
  incidentId: 'inc_1',
  grantId: `0x${'11'.repeat(32)}`,
  account,
  kind: 'freeze',
  refusedAt: null,
  chainState: 'due',
  nonce: null,
  rawTransaction: null,
  hashes: [],
  sentAt: null,
  txHash: null,
  blockNumber: null,
  logIndex: null,
  settleUntil: null,
  errorCode: null,
  createdAt: at,
  updatedAt: at,
}

const urls = { acknowledge: 'https://a.example/1', confirm: 'https://a.example/2', reject: 'https://a.example/3' }

function compose(change: Partial<AlertToCompose> = {}) {
  return composeAlert({ kind: 'opened', number: 0, audience: 'owner', facts: arrange(), urls, decimals: 6, ...change })
}

const textOf = (change: Partial<AlertToCompose>) => renderMail(compose(change)).text

test('an owner reads which agent, what happened, what was done, what is owed and at risk, and what to do', () => {
  const { subject, text } = renderMail(compose())
  expect(subject).toBe('An agent was stopped (agent 0x1234…7890)')
  for (const part of [
    'It made 101 calls within a minute.',
    'The gateways are being told to refuse its calls. On the chain it is not frozen yet; the guardian is at it.',
    'What was accepted before and is not settled waits for the decision of the owner.',
    'If this was you or your agent, let it go on.',
    'Agent: session key 0x1234567890123456789012345678901234567890',
    `Grant: 0x${'11'.repeat(32)}`,
    'Rule: calls.per_minute, version 3',
    'Call: 2026-01-01 12:00:00 UTC',
    'Owed and not settled: 1.5',
    'It could still have spent: 48.5',
    'This was me: let it go on:\nhttps://a.example/2',
    'Stop it for good:\nhttps://a.example/3',
    'Incident inc_1.',
  ])
    expect(text).toContain(part)
})

test('a merchant reads what is owed to them, and nothing of what the owner does elsewhere', () => {
  const { subject, text, html } = renderMail(compose({ audience: 'merchant' }))
  for (const part of [subject, text, html]) {
    for (const secret of ['101 calls', account, 'calls.per_minute', '48.5', 'a.example/2', 'a.example/3'])
      expect(part).not.toContain(secret)
  }
  expect(text).toContain('The sentinel stopped a grant that pays you.')
  expect(text).toContain('Owed to you and not settled: 1.5')
  expect(text).toContain('https://a.example/1')
})

test('only an owner gets the links that decide, and nobody when it was decided or is closed', () => {
  const labels = (change: Partial<AlertToCompose>) =>
    compose(change)
      .links.map(({ url }) => url.slice(-1))
      .join('')
  expect(labels({})).toBe('123')
  expect(labels({ audience: 'operator' })).toBe('1')
  expect(labels({ audience: 'merchant' })).toBe('1')
  expect(labels({ facts: arrange({ incident: { state: 'acknowledged' } }) })).toBe('23')
  expect(labels({ facts: arrange({ incident: { state: 'closed' } }), kind: 'closed' })).toBe('')
  const decision = { decision: 'reject', decidedAt: at } as AlertFacts['decisions'][number]
  expect(labels({ facts: arrange({ incident: { state: 'acknowledged' } }, { decisions: [decision] }) })).toBe('')
})

test('of their own rule a merchant reads what it found, and the owner that it is the merchant who refuses', () => {
  const facts = arrange({ incident: { ruleId: 'rul_1', rule: 'too fast' }, stop: null }, { ruleMerchantId: 'mer_1' })
  const merchant = textOf({ audience: 'merchant', facts })
  expect(merchant).toContain('It made 101 calls within a minute.')
  expect(merchant).toContain('Rule: too fast, version 3')
  expect(merchant).not.toContain(account)
  expect(textOf({ facts })).toContain('A merchant refuses its calls, by a rule of their own.')
})

describe('says how far a stop is:', () => {
  const refused = { refusedAt: at }
  const done = { ...refused, chainState: 'confirmed', blockNumber: 7n } as const
  test.each([
    ['told, not on the chain', refused, 'Every gateway refuses its calls. On the chain it is not frozen yet'],
    ['by us', { ...done, txHash: '0xab' }, 'On the chain it is frozen (block 7, transaction 0xab).'],
    ['by somebody else', done, 'Every gateway refuses its calls. On the chain it is frozen.'],
    ['for good', { ...done, kind: 'revoke' }, 'On the chain it is revoked.'],
    [
      'not by this guardian',
      { ...refused, chainState: 'impossible', errorCode: 'guardian.not_named' },
      'On the chain it could not be frozen: guardian.not_named. The owner can do that.',
    ],
  ] as const)('%s', (_, stop, expected) => {
    expect(textOf({ facts: arrange({ stop }) })).toContain(expected)
  })

  test('and what is done with what was accepted before', () => {
    expect(textOf({ facts: arrange({ incident: { voucherPolicy: 'settle' } }) })).toContain('is settled first')
    const block = { action: 'block' } as const
    expect(textOf({ facts: arrange({ incident: block, stop: null }) })).toContain('On the chain nothing was changed.')
    expect(textOf({ facts: arrange({ stop: null }) })).toContain('It was being stopped already')
    const alert = textOf({ facts: arrange({ incident: { action: 'alert' }, stop: null }) })
    expect(alert).toContain('Nothing was stopped.')
    expect(alert).not.toContain('gateway')
  })
})

test('each kind of message says what is new', () => {
  expect(compose({ kind: 'repeated', number: 1 }).subject).toBe('Reminder 2: an agent was stopped (agent 0x1234…7890)')
  expect(textOf({ kind: 'repeated' })).toContain('nobody has acknowledged it yet')
  const seen = arrange({ incident: { state: 'acknowledged', acknowledgedBy: `owner:${account}`, acknowledgedAt: at } })
  expect(textOf({ kind: 'acknowledged', facts: seen })).toContain('The owner has seen it.')
  expect(compose({ kind: 'stopped' }).subject).toMatch(/^The chain has stopped the agent/)
  expect(compose({ kind: 'stopped', facts: arrange({ stop: { chainState: 'impossible' } }) }).subject).toMatch(
    /^The chain cannot stop the agent/,
  )
  const closed = textOf({ kind: 'closed', facts: arrange({ incident: { state: 'closed', closedAt: at } }) })
  expect(closed).toContain('The incident is closed.')
})

test('text of others is markup nowhere, and one line in a subject', () => {
  const explanation = 'He said: <script>"hi" & \'bye\'</script>'
  const { html } = renderMail(compose({ facts: arrange({ incident: { explanation } }) }))
  expect(html).toContain('&lt;script&gt;&quot;hi&quot; &amp; &#39;bye&#39;&lt;/script&gt;')
  expect(html).not.toContain('<script>')
  const { subject } = renderMail({ ...compose(), subject: `a\r\nBcc: x@example.com\u0000${'b'.repeat(500)}` })
  expect(subject).toMatch(/^a Bcc: x@example\.com b{1,150}$/)
  expect(subject.length).toBeLessThanOrEqual(150)
})

test('a message of a chat has buttons for links, and never more than Telegram takes', () => {
  const chat = renderChat(compose())
  expect(chat.buttons.map(({ url }) => url)).toEqual(Object.values(urls))
  expect(chat.text).not.toContain('https://')
  const long = renderChat(compose({ facts: arrange({ incident: { explanation: 'long '.repeat(2_000) } }) }))
  expect(long.text.length).toBeLessThanOrEqual(4_096)
})
