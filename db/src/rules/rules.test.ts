import { sql } from 'drizzle-orm'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { listAudit } from '../audit/auditEntries.ts'
import { errorCodeOf } from '../errors.ts'
import { ownerActor } from '../owners/ownerActor.ts'
import { withOwner } from '../owners/withOwner.ts'
import { createTestDatabase, type TestDatabase } from '../testing/createTestDatabase.ts'
import { arrangeMerchant, randomAddress, randomHex } from '../testing/fixtures.ts'
import { withTenant } from '../withTenant.ts'
import { addAllowance, listAllowances, maxAllowances, removeAllowance } from './allowances.ts'
import { listAllowancesForSentinel, listRulesForSentinel, readDatabaseClock } from './liveRules.ts'
import { maxRules, type RuleHolder, type RuleTerms } from './rule.ts'
import { changeRule, createRule, getRule, isRuleLive, listRules, markRuleFailed, setRuleState } from './rules.ts'
import { listRuleVersions } from './ruleVersions.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase(inject('postgresUrl'))
})
afterAll(() => database.drop())

const operator: RuleHolder = { merchantId: null, account: null }
const ownerOf = (account = randomAddress()) => ({ merchantId: null, account })
const actorOf = ({ merchantId, account }: RuleHolder) => (account ? ownerActor(account) : (merchantId ?? 'operator'))

const terms: RuleTerms = {
  name: 'Nights',
  expression: 'hour < 6 && amount > 1',
  scope: { services: ['svc_a'] },
  action: 'block',
  severity: 'warning',
  blockSeconds: 60,
}

async function arrangeRule(holder: RuleHolder = ownerOf(), change: Partial<RuleTerms> = {}) {
  const actor = actorOf(holder)
  const rule = await createRule(database.db, { holder, actor, terms: { ...terms, ...change } })
  if (!rule) throw new Error('There are too many rules.')
  return { rule, change: { holder, actor, id: rule.id } }
}

test('a rule is a draft first, every change is a version that stays, and every step is audited', async () => {
  const { rule, change } = await arrangeRule()
  expect(rule).toMatchObject({ ...terms, state: 'draft', version: 1, failedVersion: null })
  expect(await setRuleState(database.db, { ...change, state: 'live' })).toMatchObject({ state: 'live', version: 1 })
  const frozen = { action: 'freeze', blockSeconds: null } as const
  const changed = await changeRule(database.db, { ...change, terms: frozen })
  expect(changed).toMatchObject({ ...terms, ...frozen, state: 'live', version: 2 })
  expect(await setRuleState(database.db, { ...change, state: 'off' })).toMatchObject({ state: 'off', version: 2 })
  expect(await setRuleState(database.db, { ...change, state: 'deleted' })).toMatchObject({ state: 'deleted' })
  expect(await getRule(database.db, change)).toBeUndefined()
  expect(await changeRule(database.db, { ...change, terms: {} })).toBeUndefined()

  const { items: versions } = await listRuleVersions(database.db, change)
  expect(versions.map(({ version, action }) => [version, action])).toEqual([
    [2, 'freeze'],
    [1, 'block'],
  ])
  const { items: entries } = await listAudit(database.db, { subject: rule.id })
  expect(entries.map(({ action }) => action)).toEqual([
    'rule_delete',
    'rule_off',
    'rule_change',
    'rule_live',
    'rule_create',
  ])
  expect(entries[2]).toMatchObject({ actor: change.actor, before: { version: 1 }, after: { version: 2, ...frozen } })
})

test('no version is ever changed or deleted', async () => {
  const { rule } = await arrangeRule()
  for (const statement of [
    sql`update sentinel_rule_version set expression = 'true' where rule_id = ${rule.id}`,
    sql`delete from sentinel_rule_version where rule_id = ${rule.id}`,
  ]) {
    const error = await database.db.execute(statement).catch((thrown: unknown) => thrown)
    expect(errorCodeOf(error)).toBe('42501')
  }
})

test("nobody changes another's rule, and Postgres shows nobody another's", async () => {
  const seller = await arrangeMerchant(database.db)
  const owner = ownerOf()
  const merchant = { merchantId: seller.merchant.id, account: null }
  const mine = await arrangeRule(owner)
  const theirs = await arrangeRule(merchant)
  const operators = await arrangeRule(operator)
  for (const { rule } of [theirs, operators]) {
    const change = { holder: owner, actor: 'owner', id: rule.id }
    expect(await changeRule(database.db, { ...change, terms: { name: 'x' } })).toBeUndefined()
    expect(await setRuleState(database.db, { ...change, state: 'off' })).toBeUndefined()
    expect(await getRule(database.db, change)).toBeUndefined()
  }
  const seen = sql`select id from sentinel_rule order by id`
  const asOwner = await withOwner(database.db, owner.account, (tx) => tx.execute(seen))
  expect(asOwner.rows).toEqual([{ id: mine.rule.id }])
  const asMerchant = await withTenant(database.db, seller.merchant.id, (tx) => tx.execute(seen))
  expect(asMerchant.rows).toEqual([{ id: theirs.rule.id }])
  for (const table of ['sentinel_rule_version', 'sentinel_dry_run', 'sentinel_allow', 'sentinel_rule_hold']) {
    const other = sql.raw(`select * from ${table} where account is distinct from '${owner.account.toLowerCase()}'`)
    expect((await withOwner(database.db, owner.account, (tx) => tx.execute(other))).rows).toEqual([])
  }
  const write = withOwner(database.db, owner.account, (tx) =>
    tx.execute(sql`update sentinel_rule set state = 'live' where id = ${mine.rule.id}`),
  )
  expect(errorCodeOf(await write.catch((error: unknown) => error))).toBe('42501')
})

test('a holder has so many rules and no more, whoever asks at once, and deleted ones do not count', async () => {
  const holder = ownerOf()
  const actor = actorOf(holder)
  const make = () => createRule(database.db, { holder, actor, terms })
  const made = []
  for (let rule = 0; rule < maxRules - 2; rule++) made.push(await make())
  made.push(...(await Promise.all([make(), make(), make(), make()])))
  const rules = made.filter((rule) => rule !== undefined)
  expect(rules).toHaveLength(maxRules)
  await setRuleState(database.db, { holder, actor, id: rules[0]?.id ?? '', state: 'deleted' })
  expect(await createRule(database.db, { holder, actor, terms })).toBeDefined()
  const first = await listRules(database.db, { holder, limit: 15 })
  const second = await listRules(database.db, { holder, limit: 15, cursor: first.nextCursor })
  expect(new Set([...first.items, ...second.items].map(({ id }) => id)).size).toBe(maxRules)
})

test('a sentinel reads what is live, and then what changed: the payee of a merchant, what was switched off', async () => {
  const seller = await arrangeMerchant(database.db)
  const { rule, change } = await arrangeRule(
    { merchantId: seller.merchant.id, account: null },
    { action: 'freeze', blockSeconds: null },
  )
  const draft = await arrangeRule()
  const find = async (changedSince?: Date) =>
    (await listRulesForSentinel(database.db, { changedSince, limit: 1_000 })).filter(({ id }) =>
      [rule.id, draft.rule.id].includes(id),
    )
  expect(await find()).toEqual([])
  const before = await readDatabaseClock(database.db)
  await setRuleState(database.db, { ...change, state: 'live' })
  expect(await find()).toMatchObject([
    { id: rule.id, merchantPayee: seller.merchant.payee, expression: terms.expression },
  ])
  expect(await find(before)).toMatchObject([{ id: rule.id, state: 'live' }])
  const later = await readDatabaseClock(database.db)
  expect(await find(new Date(later.getTime() + 1))).toEqual([])
  expect(await isRuleLive(database.db, rule.id)).toBe(true)
  await setRuleState(database.db, { ...change, state: 'off' })
  expect(await isRuleLive(database.db, rule.id)).toBe(false)
  expect(await find()).toEqual([])
  expect(await find(later)).toMatchObject([{ id: rule.id, state: 'off' }])
})

test('that a version cannot be evaluated is told by one sentinel, once', async () => {
  const { rule, change } = await arrangeRule()
  const failed = { id: rule.id, version: 1 }
  const told = await Promise.all(Array.from({ length: 5 }, () => markRuleFailed(database.db, failed)))
  expect(told.filter(Boolean)).toHaveLength(1)
  await changeRule(database.db, { ...change, terms: { expression: 'amount > 2' } })
  expect(await markRuleFailed(database.db, { ...failed, version: 2 })).toBe(true)
})

test('an allow list is its holder’s own, bounded and audited, and sentinels see what is taken off it', async () => {
  const holder = ownerOf()
  const actor = actorOf(holder)
  const entry = { holder, actor, kind: 'payee', value: randomAddress().toLowerCase() } as const
  const before = await readDatabaseClock(database.db)
  const added = await addAllowance(database.db, entry)
  if (added === 'too_many') throw new Error('The list is full.')
  expect(await addAllowance(database.db, entry)).toEqual(added)
  expect((await listAllowances(database.db, { holder })).items).toEqual([added])
  expect((await listAllowances(database.db, { holder: ownerOf() })).items).toEqual([])
  const find = async (changedSince?: Date) =>
    (await listAllowancesForSentinel(database.db, { changedSince, limit: 1_000 })).filter(({ id }) => id === added.id)
  expect(await find()).toMatchObject([{ kind: 'payee', removedAt: null }])

  const removal = { actor, id: added.id, now: new Date() }
  expect(await removeAllowance(database.db, { ...removal, holder: operator })).toBe(false)
  expect(await removeAllowance(database.db, { ...removal, holder })).toBe(true)
  expect(await removeAllowance(database.db, { ...removal, holder })).toBe(false)
  expect(await find()).toEqual([])
  expect(await find(before)).toMatchObject([{ removedAt: expect.any(Date) }])
  const { items } = await listAudit(database.db, { subject: added.id })
  expect(items.map(({ action }) => action)).toEqual(['allowance_remove', 'allowance_add'])

  for (let entryNumber = 0; entryNumber < maxAllowances; entryNumber++)
    await addAllowance(database.db, { ...entry, kind: 'grant', value: randomHex(32) })
  expect(await addAllowance(database.db, { ...entry, kind: 'grant', value: randomHex(32) })).toBe('too_many')
})
