import type { Allowance, DryRun, Rule, RuleVersion } from '@protocolbanks/stream-db'
import { formatAmount } from '@protocolbanks/stream-protocol'
import { problem } from '../../problem.ts'

// What the routes of rules show, and how they refuse.

/** Whose it is knows who asks. */
export function viewRule({ merchantId: _, account: __, failedVersion, ...rule }: Rule) {
  return { ...rule, failed: failedVersion === rule.version }
}

export function viewVersion({ ruleId: _, ...version }: RuleVersion & { dryRunId: string | null }) {
  return version
}

export function viewAllowance({ merchantId: _, account: __, ...allowance }: Allowance) {
  return allowance
}

/** Amounts also as decimals. */
export function viewDryRun({ merchantId: _, account: __, fromAt, untilAt, result, ...run }: DryRun, decimals: number) {
  const money = (atomic: string) => formatAmount(BigInt(atomic), decimals)
  return {
    ...run,
    from: fromAt,
    until: untilAt,
    result: result && {
      ...result,
      stoppedAmount: money(result.stoppedAtomic),
      stops: result.stops.map((stop) => ({ ...stop, amountAfter: money(stop.atomicAfter) })),
      examples: result.examples.map((example) => ({ ...example, amount: money(example.amountAtomic) })),
    },
  }
}

export function unknownRule(id: string): Response {
  return problem(404, 'rule.unknown', 'You have no such rule.', { detail: `Rule: ${id.slice(0, 80)}` })
}

export function unknownDryRun(id: string): Response {
  return problem(404, 'dry_run.unknown', 'You have no such dry run.', {
    detail: `Dry run: ${id.slice(0, 80)}`,
    hint: 'The newest 50 are kept.',
  })
}

export function unknownAllowance(id: string): Response {
  return problem(404, 'allowance.unknown', 'There is no such entry on your allow list.', {
    detail: `Entry: ${id.slice(0, 80)}`,
  })
}
