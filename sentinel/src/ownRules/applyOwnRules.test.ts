import type { Address, Hex } from '@protocolbanks/stream-protocol'
import { expect, test } from 'vitest'
import { firstRules } from '../rules/firstRules.ts'
import { createGrantScorer, type GrantScorer } from '../scoring/grantScorer.ts'
import { createGrantMemory, decodeGrantMemory, encodeGrantMemory } from '../watch/grantMemory.ts'
import { judgeCharge } from '../watch/judgeCharge.ts'
import { noRules, type OwnRules } from './applyOwnRules.ts'
import { toOwnRule } from './createRuleBook.ts'

const account: Address = '0x00000000000000000000000000000000000000aA'
const payee: Address = '0x00000000000000000000000000000000000000bB'
const elsewhere: Address = '0x00000000000000000000000000000000000000cC'
const grantId: Hex = `0x${'1'.repeat(64)}`
const startMs = Date.UTC(2026, 0, 5, 8)

const scorer = createGrantScorer([])

type Written = Parameters<typeof toOwnRule>[0]

function ruleOf(change: Partial<Written> = {}) {
  return toOwnRule({
    id: 'rul_1',
    version: 3,
    name: 'Mine',
    merchantId: null,
    account,
    merchantPayee: null,
    expression: 'amount > 1',
    scope: {},
    action: 'freeze',
    severity: 'critical',
    blockSeconds: null,
    ...change,
  })
}

/** Judges charges of one grant by these rules, one after the other. */
function arrange(rules: readonly Partial<Written>[], change: Partial<OwnRules> & { scorer?: GrantScorer } = {}) {
  const memory = createGrantMemory(change.scorer ?? scorer)
  const written = rules.map(ruleOf)
  const ownRules: OwnRules = { ...noRules, rulesFor: () => written, ...change }
  const options = { rules: firstRules, scorer: change.scorer ?? scorer, decimals: 6, cooldownMs: 600_000, ownRules }
  return (charge: Partial<Parameters<typeof judgeCharge>[1]> = {}) =>
    judgeCharge(
      memory,
      {
        grantId,
        account,
        payee,
        service: 'svc_a',
        atMs: startMs,
        amountAtomic: 2_000_000n,
        budgetAtomic: 100_000_000n,
        remainingBudgetAtomic: 90_000_000n,
        ...charge,
      },
      options,
    )
}

test('a rule that is true is told with its version, what it read, and one sentence', () => {
  const judge = arrange([{ expression: 'sum("1h") > 3 && hour < 9' }])
  expect(judge()).toEqual([])
  expect(judge()).toEqual([
    {
      rule: 'rul_1@3',
      ruleId: 'rul_1',
      ruleVersion: 3,
      action: 'freeze',
      severity: 'critical',
      inputs: { 'sum("1h")': '4', hour: '8' },
      explanation: 'The owner\'s rule "Mine" was true: sum("1h") is 4, hour is 8.',
    },
  ])
})

test('a block says for how long the whole grant is held, a freeze of a merchant that it holds what goes to the merchant', () => {
  const merchants = { account: null, merchantId: 'mer_1', merchantPayee: payee }
  const judge = arrange([
    { id: 'rul_1', action: 'block', blockSeconds: 90 },
    { id: 'rul_2', action: 'freeze', ...merchants },
    { id: 'rul_3', action: 'block', blockSeconds: 5, ...merchants },
    { id: 'rul_4', action: 'revoke', account: null },
  ])
  const reason = 'rule: Mine'
  expect(judge().map(({ action, hold }) => [action, hold])).toEqual([
    ['block', { ruleId: 'rul_1', merchantId: null, forMs: 90_000, reason }],
    ['block', { ruleId: 'rul_2', merchantId: 'mer_1', forMs: null, reason }],
    ['block', { ruleId: 'rul_3', merchantId: 'mer_1', forMs: 5_000, reason }],
    ['revoke', undefined],
  ])
})

test.each([
  [{ account: elsewhere }, 'another account'],
  [{ account: null, merchantId: 'mer_1', merchantPayee: elsewhere }, 'another payee'],
  [{ scope: { grantIds: [`0x${'2'.repeat(64)}` as Hex] } }, 'another grant'],
  [{ scope: { payees: [elsewhere] } }, 'a payee that is not named'],
  [{ scope: { services: ['svc_b'] } }, 'a service that is not named'],
])('a rule of %j says nothing of %s', (change: Partial<Written>, _of: string) => {
  expect(arrange([change])()).toEqual([])
})

test('a scope that names the charge in other letters reaches it', () => {
  const scope = { grantIds: [grantId], payees: [payee.toLowerCase() as Address], services: ['svc_a'] }
  expect(arrange([{ scope }])()).toHaveLength(1)
})

test("a merchant's rule counts what goes to the merchant alone", () => {
  const judge = arrange([
    { account: null, merchantId: 'mer_1', merchantPayee: payee, expression: 'calls("1h") == 2 && sum("1h") == 4' },
  ])
  judge()
  judge({ payee: elsewhere, amountAtomic: 50_000_000n })
  expect(judge()).toHaveLength(1)
})

test('a rule that goes on being true is told once in a while, and stops again as soon as it was let go on', () => {
  const told = (action: 'alert' | 'freeze', times: readonly number[]) => {
    const judge = arrange([{ action }])
    return times.filter((seconds) => judge({ atMs: startMs + seconds * 1_000 }).length > 0)
  }
  expect(told('alert', [0, 1, 59, 60, 61, 130])).toEqual([0, 60, 130])
  expect(told('freeze', [0, 0.5, 1, 1.5, 2])).toEqual([0, 1, 2])
})

test('a rule that cannot be evaluated is told with its version, and the others go on', () => {
  const judge = arrange([
    { id: 'rul_1', expression: '1 / (weekday - 1) > 0' },
    { id: 'rul_2', expression: 'amount >' },
    { id: 'rul_3' },
  ])
  const found = judge()
  expect(found.map(({ rule, action, failedRule }) => [rule, action, failedRule])).toEqual([
    ['rul_1@3.failed', 'alert', { id: 'rul_1', version: 3 }],
    ['rul_2@3.failed', 'alert', { id: 'rul_2', version: 3 }],
    ['rul_3@3', 'freeze', undefined],
  ])
  expect(found[0]?.explanation).toBe(
    'The owner\'s rule "Mine" could not be evaluated: division by zero; it found nothing and has to be corrected.',
  )
  expect(judge({ atMs: startMs + 2_000 }).map(({ rule }) => rule)).toEqual(['rul_3@3'])
})

test('what is spared is told and stops nothing, by the list of whose rule it is', () => {
  const sparedBy: OwnRules['sparedBy'] = (holder, charge) =>
    holder.account === account ? `the payee ${charge.payee}` : undefined
  const judge = arrange([{ id: 'rul_1' }, { id: 'rul_2', account: null }, { id: 'rul_3', action: 'alert' }], {
    sparedBy,
  })
  const found = judge()
  expect(found.map(({ rule, action }) => [rule, action])).toEqual([
    ['rul_1@3.spared', 'alert'],
    ['rul_2@3', 'freeze'],
    ['rul_3@3', 'alert'],
  ])
  expect(found[0]?.explanation).toBe(
    `The owner's rule "Mine" was true: amount is 2; nothing was stopped, because the payee ${payee.toLowerCase()} is on the allow list.`,
  )
})

test("the behaviour's score stops nothing that the owner or the operator spares, and a merchant spares nothing of it", () => {
  const unusual: GrantScorer = {
    ...scorer,
    observe: () => ({ score: 0.9, watched: 'calls', windowMs: 60_000, method: 'records', phase: 'later' }),
  }
  const found = (who: 'owner' | 'merchant' | 'operator' | 'nobody') => {
    const sparedBy: OwnRules['sparedBy'] = ({ account: of, merchantId }) => {
      const whose = merchantId !== null ? 'merchant' : of !== null ? 'owner' : 'operator'
      return whose === who ? 'the grant' : undefined
    }
    return arrange([], { scorer: unusual, sparedBy })().map(({ rule, action }) => [rule, action])
  }
  expect(found('owner')).toEqual([['behaviour.unusual.spared', 'alert']])
  expect(found('operator')).toEqual([['behaviour.unusual.spared', 'alert']])
  expect(found('merchant')).toEqual([['behaviour.unusual', 'freeze']])
  expect(found('nobody')).toEqual([['behaviour.unusual', 'freeze']])
})

test('a budget that was not read is not known, and not none', () => {
  const rules = [{ expression: 'remainingBudget < 1' }]
  expect(arrange(rules)({ budgetAtomic: 0n, remainingBudgetAtomic: 0n })).toEqual([])
  expect(arrange(rules)({ remainingBudgetAtomic: 0n }).map(({ rule }) => rule)).toEqual(['rul_1@3'])
})

test('what is quiet stays bounded, however many rules say something', () => {
  const memory = createGrantMemory(scorer)
  for (let version = 1; version <= 500; version++) {
    const ownRules = { ...noRules, rulesFor: () => [ruleOf({ version })] }
    judgeCharge(
      memory,
      {
        ...{ grantId, account, payee, service: 'svc_a', atMs: startMs, amountAtomic: 2_000_000n },
        ...{ budgetAtomic: 0n, remainingBudgetAtomic: 0n },
      },
      { rules: firstRules, scorer, decimals: 6, cooldownMs: 1_000, ownRules },
    )
  }
  expect(Object.keys(memory.quiet).length).toBeLessThanOrEqual(64)
})

test('a memory that was written before there were rules keeps what it knew, and counts from now on', () => {
  const memory = createGrantMemory(scorer)
  memory.quietUntilMs = 7
  const { history: _, quiet: __, ...older } = JSON.parse(encodeGrantMemory(memory))
  expect(decodeGrantMemory(JSON.stringify(older), scorer)).toEqual(memory)
  expect(decodeGrantMemory(encodeGrantMemory({ ...memory, quiet: { 'rul_1@1': 5 } }), scorer)).toEqual({
    ...memory,
    quiet: { 'rul_1@1': 5 },
  })
})
