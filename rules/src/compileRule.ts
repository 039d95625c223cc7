import { EvaluationError, ParseError, TypeError as RuleTypeError } from '@marcbachmann/cel-js'
import { getAddress } from 'viem'
import { checkExpression, type RuleUse } from './checkExpression.ts'
import type { RuleFacts } from './ruleFacts.ts'
import {
  maxExpressionLength,
  ruleEnvironment,
  ruleFunctions,
  runWithFacts,
  uncertainVariables,
} from './ruleLanguage.ts'

/** Where an expression is wrong, counted from 1, and what is wrong there. */
export type RuleProblem = { line: number; column: number; message: string }

/** What an expression says of a charge. */
export type RuleOutcome =
  | { is: 'true' | 'false' }
  /** It asks for something that is not known now. */
  | { is: 'unknown'; variable: string }
  | { is: 'failed'; message: string }

export type CompiledRule = {
  /** As it was written. */
  expression: string
  evaluate(facts: RuleFacts): RuleOutcome
  /** The values of what the expression reads, by how it is written. */
  valuesOf(facts: RuleFacts): Record<string, string>
}

/**
 * An expression that was checked, its types included, and can be evaluated in bounded time; or what is wrong with it.
 *
 * @example
 * const compiled = compileRule('sum("1h") > 20 && hour < 6')
 * if ('rule' in compiled) compiled.rule.evaluate(facts)
 */
export function compileRule(expression: string): { rule: CompiledRule } | { problem: RuleProblem } {
  if (expression.length > maxExpressionLength) {
    const message = `an expression has at most ${maxExpressionLength} characters, this one has ${expression.length}`
    return { problem: { line: 1, column: 1, message } }
  }
  const problemAt = (start: number, message: string) => ({ problem: { ...positionOf(expression, start), message } })
  try {
    const program = ruleEnvironment.parse(withChecksums(expression))
    const checked = checkExpression(program.ast)
    if ('fault' in checked) return problemAt(checked.fault.start, checked.fault.message)
    const { valid, type, error } = program.check()
    if (!valid) return problemAt(error?.range?.start ?? 0, error?.summary ?? 'the types do not fit')
    if (type !== 'bool') return problemAt(0, `a rule is true or false, this expression is of type ${type}`)
    return { rule: toRule(expression, program, checked.uses) }
  } catch (error) {
    if (!isLibraryError(error)) throw error
    return problemAt(error.range?.start ?? 0, error.summary)
  }
}

function toRule(
  expression: string,
  run: (variables: RuleFacts['variables']) => unknown,
  uses: readonly RuleUse[],
): CompiledRule {
  const uncertain = uses.map(({ name }) => name).filter((name) => uncertainVariables.includes(name))
  return {
    expression,
    evaluate(facts) {
      try {
        return { is: runWithFacts(run, facts) === true ? 'true' : 'false' }
      } catch (error) {
        const missing = uncertain.find((name) => facts.variables[name] === undefined)
        if (missing !== undefined) return { is: 'unknown', variable: missing }
        return { is: 'failed', message: isLibraryError(error) ? error.summary : String(error).slice(0, 200) }
      }
    },
    valuesOf: (facts) =>
      Object.fromEntries(
        uses.map(({ text, name, argument }) => [text, show(readUse(facts, name, argument)) ?? 'not known']),
      ),
  }
}

function readUse(facts: RuleFacts, name: string, argument: string | undefined): unknown {
  return argument === undefined ? facts.variables[name] : ruleFunctions[name]?.of(facts, argument)
}

function show(value: unknown): string | undefined {
  if (typeof value !== 'number') return value?.toString()
  // Seventeen digits tell more than anybody wants to know of a third.
  return Number(value.toPrecision(12)).toString()
}

/** Addresses are compared as texts, so those that are written out get the spelling of EIP-55; no position changes. */
function withChecksums(expression: string): string {
  return expression.replace(/(["'])(0x[0-9a-fA-F]{40})\1/g, (_, quote: string, address: string) => {
    return `${quote}${getAddress(address.toLowerCase())}${quote}`
  })
}

function positionOf(text: string, start: number): { line: number; column: number } {
  const lines = text.slice(0, start).split('\n')
  return { line: lines.length, column: (lines.at(-1) ?? '').length + 1 }
}

type LibraryError = ParseError | RuleTypeError | EvaluationError

function isLibraryError(error: unknown): error is LibraryError {
  return error instanceof ParseError || error instanceof RuleTypeError || error instanceof EvaluationError
}
