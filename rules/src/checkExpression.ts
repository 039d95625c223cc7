import type { ASTNode } from '@marcbachmann/cel-js'
import { ruleFunctions, ruleVariables } from './ruleLanguage.ts'
import { isRuleWindow, ruleWindowNames } from './ruleWindows.ts'
import { isTimeZone } from './timeZones.ts'

/** What an expression reads, to be told with its findings: variables, and calls as they are written. */
export type RuleUse = { text: string; name: string; argument: string | undefined }

export type ExpressionFault = { start: number; message: string }

const operators = new Set<string>([
  ...['==', '!=', '<', '<=', '>', '>=', '+', '-', '*', '/', '%', 'in', '&&', '||', '!_', '-_', '?:', 'list'],
])
/** Of texts; each looks at its texts once. No regular expressions: some take forever. */
const methods = new Set(['startsWith', 'endsWith', 'contains'])

/**
 * Whether an expression that was parsed uses what rules may use, and what it reads. Everything that is not named here is
 * refused: macros, regular expressions, conversions, maps.
 */
export function checkExpression(root: ASTNode): { fault: ExpressionFault } | { uses: RuleUse[] } {
  const uses = new Map<string, RuleUse>()
  const use = (one: RuleUse) => void uses.set(one.text, one)
  const fault = visit(root, use)
  return fault ? { fault } : { uses: [...uses.values()] }
}

function visit(node: ASTNode, use: (one: RuleUse) => void): ExpressionFault | undefined {
  const fault = (message: string, start = node.start): ExpressionFault => ({ start, message })
  const visitAll = (nodes: readonly ASTNode[]) => {
    for (const one of nodes) {
      const found = visit(one, use)
      if (found) return found
    }
    return undefined
  }
  switch (node.op) {
    case 'value':
      return ['string', 'number', 'bigint', 'boolean'].includes(typeof node.args)
        ? undefined
        : fault('only texts, numbers, true and false may be written out')
    case 'id': {
      const name = node.args
      if (!Object.hasOwn(ruleVariables, name)) return fault(`there is no variable ${name}; there are: ${variableNames}`)
      use({ text: name, name, argument: undefined })
      return undefined
    }
    case 'call': {
      const [name, given] = node.args
      const known = Object.hasOwn(ruleFunctions, name) ? ruleFunctions[name] : undefined
      if (!known) return fault(`there is no function ${name}; there are: ${functionNames}`)
      const [text] = given
      if (given.length !== 1 || text?.op !== 'value' || typeof text.args !== 'string')
        return fault(`${name} takes one text, for instance ${name}(${JSON.stringify(examples[known.takes])})`)
      const argument = text.args
      if (known.takes === 'window' && !isRuleWindow(argument))
        return fault(`there is no window ${quote(argument)}; there are: ${ruleWindowNames.join(', ')}`, text.start)
      if (known.takes === 'timeZone' && !isTimeZone(argument))
        return fault(`there is no time zone ${quote(argument)}; write one like ${examples.timeZone}`, text.start)
      use({ text: `${name}("${argument}")`, name, argument })
      return undefined
    }
    case 'rcall': {
      const [name, receiver, given] = node.args
      if (!methods.has(name))
        return fault(`there is no function ${name} of a text; there are: ${[...methods].join(', ')}`)
      return visitAll([receiver, ...given])
    }
    case '!_':
    case '-_':
      return visit(node.args, use)
    default:
      if (!operators.has(node.op) || !Array.isArray(node.args)) return fault(`rules have no ${quote(node.op)}`)
      return visitAll(node.args as ASTNode[])
  }
}

const examples = { window: '1h', timeZone: 'Europe/Berlin' } as const
const variableNames = Object.keys(ruleVariables).join(', ')
const functionNames = Object.keys(ruleFunctions).join(', ')

function quote(text: string): string {
  return JSON.stringify(text.slice(0, 40))
}
