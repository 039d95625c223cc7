import type { RuleFacts } from '@protocolbanks/stream-rules'
import type { Judgement } from '../watch/judgement.ts'
import { type ChargeNames, isInScope, type OwnRule } from './ownRule.ts'

/** Which rules there are for a charge, and what is on the allow lists of whom. */
export type OwnRules = {
  rulesFor(charge: ChargeNames): readonly OwnRule[]
  /** What of a charge this holder spares; undefined: nothing. */
  sparedBy(holder: OwnRule['holder'], charge: ChargeNames): string | undefined
}

export const noRules: OwnRules = { rulesFor: () => [], sparedBy: () => undefined }

/** Until when a rule says nothing more of this grant, by the name of its incidents. Of bounded size. */
export type QuietUntil = Record<string, number>

/** While a rule goes on being true, it is recorded so often. What stops comes at once again: it may have been let go on. */
const alertQuietMs = 60_000
const stopQuietMs = 1_000
const mostQuiet = 64

/**
 * What own rules say of a charge. Those that are true are judgements; one that an allow list spares is told and stops
 * nothing, and one that cannot be evaluated is told, for its owner to correct it.
 */
export function applyOwnRules(
  { rulesFor, sparedBy }: OwnRules,
  charge: ChargeNames & { atMs: number },
  factsFor: (sees: 'grant' | 'payee') => RuleFacts,
  quiet: QuietUntil,
): Judgement[] {
  const found: Judgement[] = []
  for (const rule of rulesFor(charge)) {
    if (!isInScope(rule, charge)) continue
    const facts = factsFor(seesOf(rule))
    const outcome =
      'problem' in rule.program
        ? ({ is: 'failed', message: rule.program.problem } as const)
        : rule.program.evaluate(facts)
    if (outcome.is === 'false' || outcome.is === 'unknown') continue
    const spared = outcome.is === 'true' && rule.action !== 'alert' ? sparedBy(rule.holder, charge) : undefined
    const judgement = outcome.is === 'failed' ? tellFailure(rule, outcome.message) : tellMatch(rule, facts, spared)
    if (charge.atMs < (quiet[judgement.rule] ?? 0)) continue
    keepQuiet(quiet, judgement.rule, charge.atMs, judgement.action === 'alert' ? alertQuietMs : stopQuietMs)
    found.push(judgement)
  }
  return found
}

/** A merchant's rule sees what goes to the merchant. */
export function seesOf({ holder }: OwnRule): 'grant' | 'payee' {
  return holder.merchantId === null ? 'grant' : 'payee'
}

function tellMatch(rule: OwnRule, facts: RuleFacts, spared: string | undefined): Judgement {
  const inputs = 'problem' in rule.program ? {} : rule.program.valuesOf(facts)
  const values = Object.entries(inputs).map(([name, value]) => `${name} is ${value}`)
  const sentence = `${nameOf(rule)} was true${values.length > 0 ? `: ${values.join(', ')}` : ''}`
  if (spared !== undefined) {
    const explanation = `${sentence}; nothing was stopped, because ${spared} is on the allow list.`
    return { ...base(rule), rule: `${incidentNameOf(rule)}.spared`, action: 'alert', inputs, explanation }
  }
  const hold = holdOf(rule)
  return {
    ...base(rule),
    rule: incidentNameOf(rule),
    // What a merchant stops is held at the gateways alone.
    action: hold ? 'block' : rule.action,
    inputs,
    explanation: `${sentence}.`,
    ...(hold && { hold }),
  }
}

function tellFailure(rule: OwnRule, message: string): Judgement {
  return {
    ...base(rule),
    rule: `${incidentNameOf(rule)}.failed`,
    action: 'alert',
    severity: 'warning',
    inputs: { message },
    explanation: `${nameOf(rule)} could not be evaluated: ${message}; it found nothing and has to be corrected.`,
    failedRule: { id: rule.id, version: rule.version },
  }
}

function holdOf({ id, name, action, holder, blockMs }: OwnRule): Judgement['hold'] {
  if (action !== 'block' && !(action === 'freeze' && holder.merchantId !== null)) return undefined
  return {
    ruleId: id,
    merchantId: holder.merchantId,
    forMs: action === 'block' ? blockMs : null,
    reason: `rule: ${name}`,
  }
}

function base({ id, version, severity }: OwnRule) {
  return { ruleId: id, ruleVersion: version, severity }
}

/** One incident is open for a grant and a version of a rule: another version may do something else. */
export function incidentNameOf({ id, version }: Pick<OwnRule, 'id' | 'version'>): string {
  return `${id}@${version}`
}

function nameOf({ name, holder }: OwnRule): string {
  const whose =
    holder.account !== null ? "the owner's" : holder.merchantId !== null ? "the merchant's" : "the operator's"
  return `${whose.charAt(0).toUpperCase()}${whose.slice(1)} rule "${name}"`
}

function keepQuiet(quiet: QuietUntil, rule: string, atMs: number, quietMs: number): void {
  quiet[rule] = atMs + quietMs
  if (Object.keys(quiet).length <= mostQuiet) return
  for (const [name, untilMs] of Object.entries(quiet)) if (untilMs <= atMs) delete quiet[name]
  // More rules than there may be for one grant: those that were first are forgotten, and told once more at worst.
  for (const name of Object.keys(quiet).slice(0, -mostQuiet)) delete quiet[name]
}
