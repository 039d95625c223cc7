import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type CompiledRule, compileRule } from './compileRule.ts'
import { createRuleFacts, type RuleInput } from './ruleFacts.ts'
import { maxExpressionLength, ruleFunctions, ruleVariables } from './ruleLanguage.ts'
import { createSpendHistory, recordSpend } from './spendHistory.ts'

const atMs = Date.UTC(2026, 0, 5, 3, 30)
const payee = '0xd8dA6BF26964aF9D7eEd9e03E53415D37aA96045'
const other = '0x00000000000000000000000000000000000000Bb'

/** Forty calls of 0.25 within the last 40 s to this payee, ten of 1 to another before, and one of 7.5 now. */
function factsOf(change: Partial<RuleInput> = {}) {
  const history = createSpendHistory()
  for (let call = 0; call < 10; call++)
    recordSpend(history, { atMs: atMs - 7_200_000 + call, amountAtomic: 1_000_000n, payee: other })
  for (let call = 40; call > 0; call--)
    recordSpend(history, { atMs: atMs - call * 1_000, amountAtomic: 250_000n, payee })
  recordSpend(history, { atMs, amountAtomic: 7_500_000n, payee })
  return createRuleFacts({
    atMs,
    amountAtomic: 7_500_000n,
    decimals: 6,
    payee,
    service: 'svc_weather',
    newHost: true,
    score: 0.4,
    history,
    remainingBudgetAtomic: 12_000_000n,
    fundsAtomic: 3_000_000n,
    sees: 'grant',
    ...change,
  })
}

function ruleOf(expression: string): CompiledRule {
  const compiled = compileRule(expression)
  if ('problem' in compiled) throw new Error(`${expression}: ${JSON.stringify(compiled.problem)}`)
  return compiled.rule
}

test.each([
  'amount > 5 && amount == 7.5',
  'amountAtomic == 7500000',
  'calls("1m") == 41 && calls("6h") == 51',
  'sum("10m") == 17.5 && sum("24h") == 27.5',
  'sumAtomic("24h") == 27500000',
  'payeeCalls("24h") == 41 && payeeSum("24h") == 17.5',
  'average == 0.4 && largest == 1.0 && callsBefore == 50',
  'amount > 10 * average',
  'remainingBudget == 12.0 && funds < 5',
  'newHost && score >= 0.4',
  'service == "svc_weather" || service.startsWith("svc_")',
  'hour == 3 && weekday == 1',
  'hourIn("America/New_York") == 22 && weekdayIn("America/New_York") == 7',
  `payee == "${payee}"`,
  `payee in ["${payee.toLowerCase()}", "${other.toLowerCase()}"]`,
  'hour < 6 ? amount > 1 : amount > 100',
  '!(amount < 1) && -amount < 0',
  'true || 1 / 0 == 1',
  'sum("24h") != 27 && 3 == 1.5 * 2 && calls("1m") == 41.0 && 1 != largest + 1',
])('is true of such a charge: %s', (expression) => {
  expect(ruleOf(expression).evaluate(factsOf())).toEqual({ is: 'true' })
})

test('a rule that sees one payee counts what went there, and nothing of others', () => {
  const facts = factsOf({ sees: 'payee' })
  const rule = ruleOf('calls("24h") == 41 && sum("24h") == 17.5 && average == 0.25 && largest == 0.25')
  expect(rule.evaluate(facts)).toEqual({ is: 'true' })
})

test('what is not known decides nothing unless it does not matter', () => {
  const facts = factsOf({ fundsAtomic: undefined })
  expect(ruleOf('funds < 1').evaluate(facts)).toEqual({ is: 'unknown', variable: 'funds' })
  expect(ruleOf('amount > 1 || funds < 1').evaluate(facts)).toEqual({ is: 'true' })
})

test.each([
  ['1 / (weekday - 1) == 1', 'division by zero'],
  ['amountAtomic * amountAtomic * amountAtomic > 1', 'integer overflow'],
])('what cannot be evaluated fails with a sentence, and does not throw: %s', (expression, message) => {
  const outcome = ruleOf(expression).evaluate(factsOf())
  expect(outcome).toMatchObject({ is: 'failed' })
  expect(JSON.stringify(outcome)).toContain(message)
})

test.each([
  ['amount >', 1, 9, 'Unexpected token'],
  ['amount > 5\n  && foo', 2, 6, 'there is no variable foo'],
  ['amount', 1, 1, 'is of type double'],
  ['score > "high"', 1, 1, 'no such overload'],
  ['calls("2m") > 1', 1, 7, 'there is no window "2m"; there are: 10s, 1m'],
  ['calls(service) > 1', 1, 1, 'calls takes one text'],
  ['1 < calls()', 1, 5, 'calls takes one text'],
  ['hourIn("Mars/Phobos") > 1', 1, 8, 'there is no time zone "Mars/Phobos"'],
  ['service.matches("(a+)+$")', 1, 1, 'there is no function matches'],
  ['[1, 2].exists(x, x > 0)', 1, 1, 'there is no function exists'],
  ['{"a": 1}["a"] == 1', 1, 2, 'maxMapEntries'],
  ['service.constructor == "x"', 1, 1, 'rules have no "."'],
  ['constructor == "x"', 1, 1, 'there is no variable constructor'],
  ['toString("1h") == 1', 1, 1, 'there is no function toString'],
  ['bytes("a") == b"a"', 1, 1, 'there is no function bytes'],
  [`${'('.repeat(30)}true${')'.repeat(30)}`, 1, 17, 'maxDepth'],
  [`${'true || '.repeat(120)}true`, 1, 1, 'maxAstNodes'],
  [`amount > ${'1'.repeat(maxExpressionLength)}`, 1, 1, `at most ${maxExpressionLength} characters`],
  ['', 1, 1, 'Unexpected token'],
])('is refused, with where and what: %s', (expression, line, column, message) => {
  const compiled = compileRule(expression)
  expect(compiled).toMatchObject({ problem: { message: expect.stringContaining(message) } })
  if ('problem' in compiled && !message.startsWith('max')) expect(compiled.problem).toMatchObject({ line, column })
})

test('whatever is written is compiled or refused with a place inside it, and evaluating ends in an outcome', () => {
  const names = [...Object.keys(ruleVariables), ...Object.keys(ruleFunctions).map((name) => `${name}("1h")`)]
  const words = fc.oneof(
    fc.constantFrom(...names, '(', ')', '[', ']', '.', ',', '&&', '||', '!', '<', '==', '+', '*', '/', '?', ':', 'in'),
    fc.constantFrom('1', '0', '0.5', '9223372036854775807', '"svc"', 'true', '\n', '\\', '"', 'null'),
    fc.string({ maxLength: 5 }),
  )
  const facts = factsOf()
  fc.assert(
    fc.property(fc.array(words, { maxLength: 25 }), (parts) => {
      const expression = parts.join(' ')
      const compiled = compileRule(expression)
      if ('problem' in compiled) {
        const { line, column } = compiled.problem
        const text = expression.split('\n')[line - 1] ?? ''
        expect(column).toBeGreaterThanOrEqual(1)
        expect(column).toBeLessThanOrEqual(text.length + 1)
      } else {
        expect(['true', 'false', 'unknown', 'failed']).toContain(compiled.rule.evaluate(facts).is)
      }
    }),
    { numRuns: 2_000 },
  )
})

test('the values that an expression read are told as they are written', () => {
  const rule = ruleOf('sum("1h") > 3 * average && hourIn("UTC") < 6 && service != "x" || funds < 1 || newHost')
  expect(rule.valuesOf(factsOf({ fundsAtomic: undefined }))).toEqual({
    'sum("1h")': '17.5',
    average: '0.4',
    'hourIn("UTC")': '3',
    service: 'svc_weather',
    funds: 'not known',
    newHost: 'true',
  })
})
