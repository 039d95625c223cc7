import { connectAsLogin } from '@protocolbanks/stream-db/testing'
import { type Stack, startStack } from '@protocolbanks/stream-dev'
import type { Hex } from '@protocolbanks/stream-protocol'
import { createPayingFetch } from '@protocolbanks/stream-sdk'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type Budget, giveBudget } from './testing/giveBudget.ts'
import { manage } from './testing/manage.ts'
import { openShop, priceAtomic, type Shop } from './testing/openShop.ts'
import { type PbResult, runPb } from './testing/runPb.ts'
import { readBooks, settleAll } from './testing/settleAll.ts'
import { startTraffic } from './testing/startTraffic.ts'
import { startWebhookReceiver, type WebhookReceiver } from './testing/webhookReceiver.ts'

// What an operator does with the command `pb`, against all services, and what reconciliation finds in tampered books.

const timeout = 480_000
const soon = { timeout: 120_000, interval: 200 }
const note = 'Agreed with the merchant by phone.'

let stack: Stack
let login: ReturnType<typeof connectAsLogin>
beforeAll(async () => {
  stack = await startStack({ env: { gateway: { RECONCILE_PATIENCE_SECONDS: '6' } } })
  login = connectAsLogin(stack.databaseUrl)
}, timeout)
afterAll(async () => {
  await login?.close()
  await stack?.stop()
}, 240_000)

let shops = 0
const closers: (() => Promise<void>)[] = []
beforeEach(() => async () => {
  for (const close of closers.splice(0).reverse()) await close()
})

type Trade = { shop: Shop; budget: Budget; grantId: Hex; charged: bigint }

/** A new merchant whom a new owner's agent has called so often; the journal has it. */
async function trade(calls: number): Promise<Trade> {
  const shop = await openShop(stack, `operated-${++shops}`)
  closers.push(shop.stop)
  const budget = await giveBudget(stack, shop)
  const agent = createPayingFetch({ grant: budget.agentGrant, sessionKey: budget.sessionPrivateKey })
  for (let call = 0; call < calls; call++) expect((await agent(`${shop.url}/x`)).status).toBe(200)
  const charged = BigInt(calls) * priceAtomic
  await expect.poll(async () => (await readBooks(stack, shop, budget)).charged, soon).toBe(charged)
  return { shop, budget, grantId: budget.grantId, charged }
}

function pb(args: readonly string[], key = stack.operatorApiKey): Promise<PbResult> {
  return runPb(args, { PB_URL: stack.gateway.url, PB_KEY: key })
}

/** The JSON that a command printed; its shape is what the tests are about. */
// biome-ignore lint/suspicious/noExplicitAny: a test looks into it
async function pbJson(...args: string[]): Promise<any> {
  const { code, stdout, stderr } = await pb([...args, '--json'])
  expect({ code, stderr }).toEqual({ code: expect.toBeOneOf([0, 1]), stderr: '' })
  return { ...JSON.parse(stdout), exitCode: code }
}

const reconciled = ({ grantId }: Trade) => pbJson('reconcile', '--grant', grantId)

/** Makes the stored voucher one that the session key never signed. Answers how to undo it. */
async function spoilVoucher({ grantId }: Trade): Promise<() => Promise<unknown>> {
  const [channel] = await login.query<{ signature: string }>('select signature from channel where grant_id = $1', [
    grantId,
  ])
  const set = (signature: string | undefined) =>
    login.query('update channel set signature = $1 where grant_id = $2', [signature, grantId])
  await set(`0x${'11'.repeat(64)}1b`)
  return () => set(channel?.signature)
}

/** A dead letter: settlement was asked for and the voucher proves nothing. */
async function arrangeDeadLetter(): Promise<Trade & { id: string; mend(): Promise<unknown> }> {
  const made = await trade(3)
  const mend = await spoilVoucher(made)
  const asked = await manage(stack, made.shop.apiKey, 'POST /settlements', { grantId: made.grantId })
  expect(asked.status).toBe(202)
  const waiting = async () => (await pbJson('settlements', 'list', '--grant', made.grantId)).settlements
  await expect.poll(waiting, soon).toMatchObject([{ state: 'dead', errorCode: 'voucher.signature' }])
  const [{ id }] = await waiting()
  return { ...made, id, mend }
}

/** An endpoint of the operator. */
async function operatorReceiver(): Promise<WebhookReceiver> {
  const receiver = await startWebhookReceiver()
  closers.push(receiver.close)
  const { status, body } = await manage<{ id: string; secret: string; merchantId: null }>(
    stack,
    stack.operatorApiKey,
    'POST /webhooks',
    { url: receiver.url },
  )
  expect([status, body.merchantId]).toEqual([201, null])
  receiver.secret = body.secret
  return receiver
}

describe('a dead letter', () => {
  test('is told to the operator, signed, once, and nothing of it stays behind', { timeout }, async () => {
    const receiver = await operatorReceiver()
    const { id, grantId, shop, budget } = await arrangeDeadLetter()
    const told = () => receiver.received.filter(({ payload }) => payload.data.settlementId === id)
    await expect.poll(() => told().length, soon).toBe(1)
    expect(told()[0]?.payload).toMatchObject({
      type: 'settlement.dead',
      data: { grantId, account: budget.account.address, payees: [shop.payee], errorCode: 'voucher.signature' },
    })
    expect(receiver.refused).toEqual([])
    const waiting = () => login.query('select topic from outbox where published_at is null')
    await expect.poll(waiting, soon).toEqual([])
    expect(told()).toHaveLength(1)
  })

  test('is listed, looked into, and paid by a retry once its cause is gone', { timeout }, async () => {
    const dead = await arrangeDeadLetter()
    const { id, charged, shop, budget } = dead
    const shown = await pb(['settlements', 'show', id])
    expect(shown.code).toBe(0)
    for (const word of [id, 'voucher.signature', shop.payee, charged.toString()]) expect(shown.stdout).toContain(word)
    expect(await reconciled(dead)).toMatchObject({
      exitCode: 1,
      differences: 1,
      found: [{ kind: 'voucher_unsigned', grantId: dead.grantId, payee: shop.payee }],
    })

    await dead.mend()
    expect((await pb(['settlements', 'retry', id, '--note', note])).code).toBe(0)
    await expect.poll(async () => (await pbJson('settlements', 'show', id)).state, soon).toBe('confirmed')
    await expect.poll(() => readBooks(stack, shop, budget), soon).toMatchObject({ settled: charged, received: charged })
    const { audit } = await pbJson('settlements', 'show', id)
    expect(audit).toMatchObject([
      { actor: 'operator', action: 'settlement_retry', note, before: { state: 'dead' }, after: { state: 'failed' } },
    ])
    const agreed = await reconciled(dead)
    expect(agreed).toMatchObject({ exitCode: 0, differences: 0, found: [], grantId: dead.grantId })
    expect(agreed.totals).toMatchObject({ chargedAtomic: `${charged}`, settledAtomic: `${charged}`, payments: 1 })
  })

  test('is written off: the debt stays in the books, is seen there, and nobody collects it by itself', {
    timeout,
  }, async () => {
    const dead = await arrangeDeadLetter()
    const { id, charged, shop, budget } = dead
    await dead.mend()
    const args = ['settlements', 'write-off', id, '--note', note]
    expect((await pb([...args, '--reason', 'bored'])).code).toBe(2)
    expect(await pbJson(...args, '--reason', 'agreed')).toMatchObject({
      state: 'dead',
      writtenOffAt: expect.any(String),
    })
    const again = await pb([...args, '--reason', 'agreed'])
    expect(again).toMatchObject({ code: 2, stdout: '' })
    expect(again.stderr).toContain('settlement.not_dead')

    const { exitCode, totals } = await reconciled(dead)
    expect(exitCode).toBe(0)
    expect(totals).toMatchObject({ owedAtomic: `${charged}`, writtenOffAtomic: `${charged}`, settledAtomic: '0' })
    expect((await pbJson('settlements', 'list', '--grant', dead.grantId)).settlements).toEqual([])
    expect((await pbJson('settlements', 'list', '--state', 'all', '--grant', dead.grantId)).settlements).toHaveLength(1)
    expect(await readBooks(stack, shop, budget)).toMatchObject({ charged, settled: 0n, received: 0n })
    expect((await pb(['audit', '--subject', id])).stdout).toContain(note)

    // The merchant may change their mind: asked for, it is paid, and no longer written off.
    expect(await settleAll(stack, shop, budget, charged)).toMatchObject({ settled: charged, received: charged })
    expect((await reconciled(dead)).totals).toMatchObject({ owedAtomic: '0', writtenOffAtomic: '0' })
  })
})

describe('reconciliation', () => {
  test('agrees while an agent pays and settlements go on', { timeout }, async () => {
    const made = await trade(1)
    const traffic = startTraffic(made.shop, made.budget)
    try {
      for (const more of [20, 20, 20]) {
        await traffic.untilServed(more)
        await manage(stack, made.shop.apiKey, 'POST /settlements', { grantId: made.grantId })
        expect(await reconciled(made)).toMatchObject({ exitCode: 0, found: [] })
      }
    } finally {
      await traffic.stop()
    }
    expect(traffic.surprises).toEqual([])
  })

  test('names exactly the book that was tampered with, and corrects nothing', { timeout: 600_000 }, async () => {
    const made = await trade(4)
    const { shop, budget, grantId, charged } = made
    expect(await settleAll(stack, shop, budget, charged)).toMatchObject({ settled: charged, received: charged })
    expect(await reconciled(made)).toMatchObject({ exitCode: 0, found: [] })

    const say = (kind: string, expected: bigint, actual: bigint) => ({
      kind,
      payee: shop.payee,
      expectedAtomic: `${expected}`,
      actualAtomic: `${actual}`,
    })
    const events = `chain_event set data = jsonb_set(data, '{paid}', to_jsonb(((data ->> 'paid')::numeric`
    const ofEvent = `::text)) where grant_id = $1 and name = 'Settled'`
    const items = 'settlement_item set paid = paid'
    const ofItem = 'where settlement_id in (select id from settlement where grant_id = $1)'
    const tamperings: [string, string, object[]][] = [
      [
        `update charge set amount = amount + 1 where grant_id = $1 and event_id = (select min(event_id) from charge where grant_id = $1)`,
        `update charge set amount = amount - 1 where grant_id = $1 and event_id = (select min(event_id) from charge where grant_id = $1)`,
        [say('journal', charged + 1n, charged)],
      ],
      [
        'update channel set settled = settled + 1 where grant_id = $1',
        'update channel set settled = settled - 1 where grant_id = $1',
        [say('settled', charged, charged + 1n)],
      ],
      [
        'update channel set cumulative_amount = cumulative_amount - 1 where grant_id = $1',
        'update channel set cumulative_amount = cumulative_amount + 1 where grant_id = $1',
        [say('voucher_below_charged', charged, charged - 1n), say('voucher_unsigned', charged - 1n, 0n)],
      ],
      [`update ${items} - 1 ${ofItem}`, `update ${items} + 1 ${ofItem}`, [say('payment', charged, charged - 1n)]],
      [
        `update ${events} + 1)${ofEvent}`,
        `update ${events} - 1)${ofEvent}`,
        [
          say('events', charged, charged + 1n),
          say('transfer', charged + 1n, charged),
          say('payment', charged + 1n, charged),
        ],
      ],
    ]
    for (const [tamper, undo, differences] of tamperings) {
      await login.query(tamper, [grantId])
      const first = await reconciled(made)
      expect(first, tamper).toMatchObject({ exitCode: 1, differences: differences.length })
      expect(first.found, tamper).toHaveLength(differences.length)
      expect(first.found, tamper).toEqual(
        expect.arrayContaining(differences.map((difference) => expect.objectContaining(difference))),
      )
      await login.query(undo, [grantId])
    }
    expect(await reconciled(made)).toMatchObject({ exitCode: 0, found: [] })
  })

  test('finds a charge that the meter made and the journal lost', { timeout }, async () => {
    const made = await trade(2)
    const { grantId, charged, shop } = made
    await login.query(
      `with lost as (delete from charge where grant_id = $1
         and event_id = (select max(event_id) from charge where grant_id = $1) returning amount)
       update channel set charged = charged - (select amount from lost) where grant_id = $1`,
      [grantId],
    )
    expect(await reconciled(made)).toMatchObject({
      exitCode: 1,
      found: [
        { kind: 'meter', payee: shop.payee, expectedAtomic: `${charged}`, actualAtomic: `${charged - priceAtomic}` },
      ],
    })
  })

  test('finds money whose channel is gone', { timeout }, async () => {
    const made = await trade(2)
    const { grantId, charged, shop } = made
    const [gone] = await login.query<Record<string, unknown>>('delete from channel where grant_id = $1 returning *', [
      grantId,
    ])
    const lost = [{ kind: 'journal', payee: shop.payee, expectedAtomic: `${charged}`, actualAtomic: '0' }]
    expect(await reconciled(made)).toMatchObject({ exitCode: 1, differences: 1, found: lost })
    // What Postgres generates cannot be given.
    const { owing: _owing, ...row } = gone ?? {}
    const columns = Object.keys(row)
    await login.query(
      `insert into channel (${columns}) values (${columns.map((_, index) => `$${index + 1}`)})`,
      Object.values(row),
    )
    expect(await reconciled(made)).toMatchObject({ exitCode: 0, found: [] })
  })

  test('of all grants alerts the operator, shows in the metrics, and prints what it found', { timeout }, async () => {
    const made = await trade(1)
    const receiver = await operatorReceiver()
    await login.query('update channel set settled = settled + 7 where grant_id = $1', [made.grantId])
    const { code, stdout, stderr } = await pb(['reconcile'])
    expect({ code, stderr }).toEqual({ code: 1, stderr: '' })
    expect(stdout).toContain(made.grantId)
    const [, id = ''] = /reconciliation +(rec_[0-9a-f]{32})/.exec(stdout) ?? []
    const again = await pb(['reconcile', '--run', id])
    expect(again).toEqual({ code, stdout, stderr: '' })

    const alerts = await login.query<{ payload: { reconciliationId: string; first: object[] } }>(
      `select payload from outbox where topic = 'reconciliation.difference' and merchant_id is null`,
    )
    const alert = alerts.find(({ payload }) => payload.reconciliationId === id)
    expect(alert?.payload.first).toContainEqual(expect.objectContaining({ kind: 'settled', grantId: made.grantId }))
    const told = () => receiver.received.filter(({ payload }) => payload.data.reconciliationId === id)
    await expect.poll(() => told().length, soon).toBe(1)
    expect(told()[0]?.payload).toMatchObject({ type: 'reconciliation.difference', data: alert?.payload })
    const metrics = async () => (await fetch(`${stack.gateway.url}/metrics`)).text()
    await expect.poll(metrics, soon).toMatch(/gateway_reconciliation_differences\{kind="settled"\} [1-9]/)
    expect(await metrics()).toMatch(/gateway_reconciliation_finished_timestamp_seconds \d{10}/)
    await login.query('update channel set settled = settled - 7 where grant_id = $1', [made.grantId])
  })
})

describe('without rights', () => {
  test('the command changes nothing, says so, prints no key, and is audited', { timeout }, async () => {
    const { id, shop } = await arrangeDeadLetter()
    const stranger = `pb_${'x'.repeat(43)}`
    for (const [key, code] of [
      [shop.apiKey, 'operator.required'],
      [stranger, 'api_key.invalid'],
    ] as const) {
      const calls = [
        ['settlements', 'retry', id, '--note', note],
        ['settlements', 'write-off', id, '--reason', 'agreed', '--note', note],
        ['reconcile'],
        ['audit', '--json'],
      ]
      for (const args of calls) {
        const refused = await pb(args, key)
        expect(refused, args.join(' ')).toMatchObject({ code: 2, stdout: '' })
        expect(refused.stderr).toContain(code)
        expect(refused.stderr).not.toContain(key)
      }
    }
    expect(await pbJson('settlements', 'show', id)).toMatchObject({ state: 'dead', writtenOffAt: null, audit: [] })
    const { entries } = await pbJson('audit', '--subject', `POST /api/settlements/${id}/retry`)
    expect(entries).toMatchObject([
      { outcome: 'refused', errorCode: 'api_key.invalid', actor: 'unknown' },
      { outcome: 'refused', errorCode: 'operator.required', actor: expect.stringMatching(/^key_/) },
    ])
  })

  test("a merchant cannot have somebody else's grant settled, and the try is audited", { timeout }, async () => {
    const mine = await trade(1)
    const { shop: other } = await trade(1)
    const answer = await manage(stack, other.apiKey, 'POST /settlements', { grantId: mine.grantId })
    expect(answer).toMatchObject({ status: 404, body: { code: 'grant.unknown' } })
    expect((await pbJson('settlements', 'list', '--state', 'all', '--grant', mine.grantId)).settlements).toEqual([])
    const { entries } = await pbJson('audit', '--subject', mine.grantId)
    expect(entries).toMatchObject([{ action: 'settlement_request', outcome: 'refused', errorCode: 'grant.unknown' }])
  })

  test('or without an address, a key or a gateway, it says what to set and exits with 2', { timeout }, async () => {
    const PB_KEY = stack.operatorApiKey
    for (const env of [{}, { PB_URL: stack.gateway.url }, { PB_KEY }, { PB_URL: 'ftp://x', PB_KEY }]) {
      const { code, stdout, stderr } = await runPb(['reconcile'], env)
      expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
      expect(stderr).toMatch(/Set PB_URL .* PB_KEY/)
      expect(stderr).not.toContain(PB_KEY)
    }
    const nowhere = await runPb(['settlements', 'list'], { PB_URL: 'http://127.0.0.1:1', PB_KEY })
    expect(nowhere).toMatchObject({ code: 2, stdout: '' })
    expect(nowhere.stderr).toContain('cannot be reached')
    const unknown = await runPb(['settlements', 'delete'], { PB_URL: stack.gateway.url, PB_KEY })
    expect(unknown.code).toBe(2)
  })
})
