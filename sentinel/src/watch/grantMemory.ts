import { createSpendHistory, isSpendHistory, type SpendHistory } from '@protocolbanks/stream-rules'
import type { QuietUntil } from '../ownRules/applyOwnRules.ts'
import { createRulesState, type RulesState } from '../rules/firstRules.ts'
import type { GrantScorer, GrantState } from '../scoring/grantScorer.ts'

/** All that is remembered of one grant. Of bounded size. */
export type GrantMemory = {
  rules: RulesState
  scorer: GrantState
  /** The score says nothing before this moment: it has just said something. */
  quietUntilMs: number
  /** What own rules count in. */
  history: SpendHistory
  quiet: QuietUntil
}

export function createGrantMemory(scorer: GrantScorer): GrantMemory {
  return { rules: createRulesState(), scorer: scorer.createState(), quietUntilMs: 0, ...createRuleMemory() }
}

function createRuleMemory(): Pick<GrantMemory, 'history' | 'quiet'> {
  return { history: createSpendHistory(), quiet: {} }
}

const integer = /^-?\d+n$/

/** As text, for Postgres. */
export function encodeGrantMemory(memory: GrantMemory): string {
  return JSON.stringify(memory, (_, value: unknown) => (typeof value === 'bigint' ? `${value}n` : value))
}

/** Undefined when it is not one: another version of the sentinel wrote it. It is learned anew then. */
export function decodeGrantMemory(text: string, scorer: GrantScorer): GrantMemory | undefined {
  const parsed: unknown = JSON.parse(text, (_, value: unknown) =>
    typeof value === 'string' && integer.test(value) ? BigInt(value.slice(0, -1)) : value,
  )
  if (typeof parsed !== 'object' || parsed === null) return undefined
  // Sentinels before this one did not count for own rules: that alone begins anew.
  const memory: unknown =
    'history' in parsed && isSpendHistory(parsed.history) ? parsed : { ...parsed, ...createRuleMemory() }
  return hasShapeOf(memory, createGrantMemory(scorer)) ? memory : undefined
}

/** Whether it has every field of the example, of the same type, and lists where it has them. Lists may differ in length. */
function hasShapeOf<T>(value: unknown, example: T): value is T {
  if (typeof value !== typeof example || Array.isArray(value) !== Array.isArray(example)) return false
  if (typeof example !== 'object' || example === null || Array.isArray(example)) return true
  if (value === null) return false
  return Object.entries(example).every(([name, part]) => hasShapeOf((value as Record<string, unknown>)[name], part))
}
