import { Environment } from '@marcbachmann/cel-js'
import { atMostInt64, type RuleFacts } from './ruleFacts.ts'
import { isRuleWindow, type RuleWindow } from './ruleWindows.ts'
import { callsWithin, type SpendTotals, spentWithin } from './spendTotals.ts'
import { timeIn } from './timeZones.ts'

// The language: the Common Expression Language with these variables and functions, and no others. What of CEL itself may
// be used is in checkExpression.ts.

/** Longer expressions are refused, and deeper ones. Nothing repeats, so evaluating takes at most one step a node. */
export const maxExpressionLength = 1_000
const limits = { maxAstNodes: 200, maxDepth: 16, maxListElements: 50, maxMapEntries: 0, maxCallArguments: 2 }

export const ruleVariables = {
  amount: 'double',
  amountAtomic: 'int',
  service: 'string',
  payee: 'string',
  newHost: 'bool',
  score: 'double',
  hour: 'int',
  weekday: 'int',
  average: 'double',
  largest: 'double',
  callsBefore: 'int',
  remainingBudget: 'double',
  funds: 'double',
} as const

/** Those that are not always known. */
export const uncertainVariables: readonly string[] = ['remainingBudget', 'funds']

type RuleFunction = {
  takes: 'window' | 'timeZone'
  gives: 'int' | 'double'
  of(facts: RuleFacts, text: string): unknown
}

/** Each takes one text, written out: a window or a time zone. */
export const ruleFunctions: Record<string, RuleFunction> = {
  calls: window('int', ({ grant }, name) => count(grant, name)),
  sum: window('double', ({ grant, decimals }, name) => spentWithin(grant, name) / 10 ** decimals),
  sumAtomic: window('int', ({ grant }, name) => atMostInt64(BigInt(spentWithin(grant, name)))),
  payeeCalls: window('int', ({ payee }, name) => count(payee, name)),
  payeeSum: window('double', ({ payee, decimals }, name) => spentWithin(payee, name) / 10 ** decimals),
  hourIn: { takes: 'timeZone', gives: 'int', of: ({ atMs }, zone) => BigInt(timeIn(zone, atMs).hour) },
  weekdayIn: { takes: 'timeZone', gives: 'int', of: ({ atMs }, zone) => BigInt(timeIn(zone, atMs).weekday) },
}

function window(gives: 'int' | 'double', of: (facts: RuleFacts, name: RuleWindow) => unknown): RuleFunction {
  return { takes: 'window', gives, of: (facts, text) => (isRuleWindow(text) ? of(facts, text) : undefined) }
}

function count(totals: SpendTotals, name: RuleWindow): bigint {
  return BigInt(callsWithin(totals, name))
}

/** Of the evaluation that runs: functions of the library know nothing else of it. None runs inside another. */
let current: RuleFacts | undefined

/** Evaluates with these facts. @throws as the library does */
export function runWithFacts(run: (variables: RuleFacts['variables']) => unknown, facts: RuleFacts): unknown {
  current = facts
  try {
    return run(facts.variables)
  } finally {
    current = undefined
  }
}

export const ruleEnvironment = createEnvironment()

function createEnvironment(): Environment {
  const environment = new Environment({ limits })
  for (const [name, type] of Object.entries(ruleVariables)) environment.registerVariable(name, type)
  for (const [name, { gives, of }] of Object.entries(ruleFunctions)) {
    environment.registerFunction(`${name}(string): ${gives}`, (text: string) => {
      if (!current) throw new Error('No charge is being judged.')
      return of(current, text)
    })
  }
  // Whoever writes `3 * average` means what it says: CEL alone has no arithmetic between whole and other numbers,
  // and does not compare them for equality.
  for (const [left, right] of [
    ['double', 'int'],
    ['int', 'double'],
  ]) {
    environment.registerOperator(`${left} + ${right}`, (a: Numeric, b: Numeric) => Number(a) + Number(b))
    environment.registerOperator(`${left} - ${right}`, (a: Numeric, b: Numeric) => Number(a) - Number(b))
    environment.registerOperator(`${left} * ${right}`, (a: Numeric, b: Numeric) => Number(a) * Number(b))
    environment.registerOperator(`${left} / ${right}`, (a: Numeric, b: Numeric) => Number(a) / Number(b))
  }
  // The other way round comes with it, and so does `!=`.
  environment.registerOperator('double == int', (a: Numeric, b: Numeric) => Number(a) === Number(b))
  return environment
}

type Numeric = number | bigint
