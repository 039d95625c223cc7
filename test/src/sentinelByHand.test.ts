import {
  appendCharges,
  type Charge,
  createDb,
  listCharges,
  listIncidents,
  listServices,
  openOwnerSession,
} from '@protocolbanks/stream-db'
import { type Service, type Stack, startStack } from '@protocolbanks/stream-dev'
import { type Address, createVoucherHasher, type Hex, signVoucher } from '@protocolbanks/stream-protocol'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { agentOf, codeOf } from './testing/agentOf.ts'
import { type Budget, giveBudget } from './testing/giveBudget.ts'
import { grantOnChain } from './testing/grantOnChain.ts'
import { manage } from './testing/manage.ts'
import { openShop, priceAtomic, type Shop } from './testing/openShop.ts'
import { runPb } from './testing/runPb.ts'
import { startSentinel } from './testing/startSentinel.ts'

// What owners and operators do about the sentinel by hand, and what it makes of where calls come from.

const timeout = 480_000
const soon = { timeout: 120_000, interval: 50 }

let stack: Stack
let db: ReturnType<typeof createDb>
let shop: Shop
/** Has been used for four days, from the agent's own machine. */
let used: Budget
let sentinel: Service
beforeAll(async () => {
  stack = await startStack()
  db = createDb({ url: stack.databaseUrl, maxConnections: 2, onError: () => {} })
  shop = await openShop(stack, 'weather')
  used = await giveBudget(stack, shop)
  await writeHistory(used, 'a1a1a1a1a1a1a1a1')
  sentinel = await startSentinel(stack, { LEARN_HOURS: '200', MAX_CALLS_PER_MINUTE: '100000' })
  // It hears new charges at once, and has to have learned from the old ones before.
  await vi.waitFor(async () => expect(await chargesSeen()).toBeGreaterThanOrEqual(historyCalls), soon)
}, timeout)
afterAll(async () => {
  await sentinel?.stop()
  await shop?.stop()
  await db?.close()
  await stack?.stop()
}, 240_000)

test('calls from a host that is new to a grant are held to stricter limits, and the explanation says so', {
  timeout,
}, async () => {
  const pay = agentOf(used)
  const answers: string[] = []
  while (answers.length < 5_000 && answers.at(-1) !== 'grant.frozen') answers.push(await outcomeOf(pay))
  expect(answers.at(-1)).toBe('grant.frozen')
  const served = answers.filter((answer) => answer === 'served').length
  // The record follows the refusal.
  const explanations = async () => {
    const { items } = await listIncidents(db, { grantId: used.grantId })
    return items.filter(({ rule }) => rule === 'behaviour.unusual').map(({ explanation }) => explanation)
  }
  await expect
    .poll(explanations, soon)
    .toContainEqual(expect.stringContaining(', and the call came from a new host (score '))

  // Nothing but a hash of where they came from is kept.
  await expect.poll(async () => (await realCharges()).length, soon).toBe(served)
  const clients = new Set((await realCharges()).map(({ client }) => client))
  expect([...clients]).toEqual([expect.stringMatching(/^[0-9a-f]{16}$/)])
})

test('an owner has a grant frozen on the chain, and lets it go on by signing what the unfreeze says', {
  timeout,
}, async () => {
  const budget = await giveBudget(stack, shop)
  const { token } = await signIn(budget)
  expect(await outcomeOf(agentOf(budget))).toBe('served')
  const path = `/owner/grants/${budget.grantId}` as const
  const asked = await manage<{ incidentId: string }>(stack, token, `POST ${path}/freeze`, { onChain: true })
  expect(asked.status).toBe(200)
  expect(await outcomeOf(agentOf(budget))).toBe('grant.frozen')
  await expect.poll(() => statusOf(budget), soon).toBe('frozen')

  type Unfrozen = { heldBy: { by: string }[]; toSign: { to: Address; data: Hex }[] }
  const unfreeze = async () => (await manage<Unfrozen>(stack, token, `POST ${path}/unfreeze`, {})).body
  await expect.poll(async () => (await unfreeze()).toSign.length, soon).toBe(1)
  const { heldBy, toSign } = await unfreeze()
  expect(heldBy.map(({ by }) => by)).toContain('chain')
  expect(heldBy.map(({ by }) => by)).not.toContain('owner')
  const operation = await budget.bundlerClient.sendUserOperation({
    account: budget.account,
    calls: toSign.map(({ to, data }) => ({ to, data, value: 0n })),
  })
  await budget.bundlerClient.waitForUserOperationReceipt({ hash: operation, timeout: 120_000 })
  expect(await statusOf(budget)).toBe('active')
  await expect.poll(async () => (await unfreeze()).toSign, soon).toEqual([])

  // The operator follows it from the terminal.
  const { incidentId } = asked.body
  const pb = (...args: string[]) => runPb(args, { PB_URL: stack.gateway.url, PB_KEY: stack.operatorApiKey })
  const list = await pb('incidents', 'list', '--state', 'all', '--grant', budget.grantId)
  expect(list).toMatchObject({ code: 0, stderr: '' })
  expect(list.stdout).toContain(incidentId)
  // What was done is written down after it was.
  const show = async () => (await pb('incidents', 'show', incidentId)).stdout
  await expect
    .poll(show, soon)
    .toMatch(/The grant is frozen on the chain by the transaction 0x[0-9a-f]{64}, in block \d+\./)
  await expect.poll(show, soon).toContain('From here on every gateway refuses the grant.')
  expect(await show()).toContain('The rule owner.asked, version 1, froze the grant: The owner asked for it: by hand.')
  const closed = await pb('--json', 'incidents', 'close', incidentId, '--note', 'They found it again.')
  expect(JSON.parse(closed.stdout)).toMatchObject({ id: incidentId, state: 'closed' })
  const late = await pb('incidents', 'acknowledge', incidentId)
  expect(late).toMatchObject({ code: 2, stdout: '' })
  expect(late.stderr).toContain('Code: incident.over (409)')
})

const historyCalls = 900

/** What the journal has beside the history. */
async function realCharges(): Promise<Charge[]> {
  const found: Charge[] = []
  let cursor: string | undefined
  do {
    const page = await listCharges(db, { grantId: used.grantId, limit: 200, cursor })
    found.push(...page.items.filter(({ requestId }) => !requestId.startsWith('history-')))
    cursor = page.nextCursor
  } while (cursor !== undefined)
  return found
}

/** By the sentinel. */
async function chargesSeen(): Promise<number> {
  const metrics = await (await fetch(`${sentinel.url}/metrics`)).text()
  const [, count] = /^sentinel_charges_total (\d+)/m.exec(metrics) ?? []
  return Number(count ?? 0)
}

/** Charges of four days in the journal, with a voucher for all of them, and in the meter. */
async function writeHistory(budget: Budget, client: string): Promise<void> {
  const { grantId, account, sessionPrivateKey, terms } = budget
  const { payee, merchantId } = shop
  const { items } = await listServices(db)
  const serviceId = items.find((service) => service.merchantId === merchantId)?.id ?? ''
  const cumulativeAmount = BigInt(historyCalls) * priceAtomic
  const hash = createVoucherHasher({ chainId: stack.chain.chainId, module: stack.contracts.sessionKeyValidator })
  const { signature } = signVoucher(hash, sessionPrivateKey, { grantId, payee, cumulativeAmount })
  const everyMs = (4 * 86_400_000) / historyCalls
  const untilMs = Date.now() - 600_000
  await appendCharges(
    db,
    Array.from({ length: historyCalls }, (_, index) => ({
      eventId: `history-${index}`,
      // Not like a clock: agents are none.
      occurredAtMs: Math.round(untilMs - everyMs * (historyCalls - index + ((index * 0.618) % 1))),
      account: account.address,
      grantId,
      payee,
      merchantId,
      serviceId,
      requestId: `history-${index}`.padEnd(16, '-'),
      fingerprint: '00',
      amount: priceAtomic,
      cumulativeAmount,
      signature,
      client,
    })),
  )
  // Both copy the account to the meter.
  for (const change of ['freeze', 'unfreeze'] as const) {
    const { status } = await manage(stack, stack.operatorApiKey, `POST /session-keys/${terms.sessionKey}/${change}`, {})
    expect(status).toBe(200)
  }
}

async function statusOf(budget: Budget) {
  return (await grantOnChain(stack, budget)).status
}

async function signIn({ account: { address: account } }: Budget): Promise<{ token: string }> {
  const now = new Date()
  const expiresAt = new Date(now.getTime() + 600_000)
  const session = await openOwnerSession(db, { account, nonce: `nonce-of-${account}`, now, expiresAt })
  if (!session) throw new Error('The nonce was used before.')
  return session
}

/** `served`, another status, or the code of the refusal. */
async function outcomeOf(pay: typeof fetch): Promise<string> {
  try {
    const { status } = await pay(shop.url)
    return status === 200 ? 'served' : `${status}`
  } catch (error) {
    return codeOf(error)
  }
}
