import { formatAmount } from '@protocolbanks/stream-protocol'

/** What `npm run demo -- --attack --json FILE` writes. Amounts are base units, as decimal strings. */
export type AttackReport = {
  budgetAtomic: string
  priceAtomic: string
  /** Of the agent, before its key was stolen. */
  servedBefore: number
  /** Of the thief: until the first refusal, and in all. */
  servedToThief: number
  refusedToThief: number
  /** Of the thief and the agent, once the grant was frozen. */
  servedWhileFrozen: number
  /** Charged in all, by the journal. */
  chargedAtomic: string
  rule: string
  explanation: string
  /** From the charge that broke the rule, milliseconds. Null: never. */
  refusedAfterMs: number | null
  frozenOnChainAfterMs: number | null
  /** Who froze it on the chain. */
  frozenBy: string | null
  freezeTransaction: string | null
  guardian: string
  /** Types of the webhooks that came, each signed. */
  alerts: string[]
  /** After the theft alone. */
  ownerSignatures: number
  servedAfterUnfreeze: number
}

/** What the thief got, and what is left because of the freeze. */
export function lossOf({ budgetAtomic, priceAtomic, servedBefore, servedToThief }: AttackReport) {
  const lostAtomic = BigInt(priceAtomic) * BigInt(servedToThief)
  return { lostAtomic, savedAtomic: BigInt(budgetAtomic) - BigInt(priceAtomic) * BigInt(servedBefore) - lostAtomic }
}

/** Sentences that say what did not go as told; none when all did. */
export function findAttackDifferences(report: AttackReport): string[] {
  const { servedBefore, servedToThief, servedAfterUnfreeze, chargedAtomic, priceAtomic } = report
  const differences: string[] = []
  const served = BigInt(servedBefore + servedToThief + servedAfterUnfreeze)
  if (BigInt(chargedAtomic) !== served * BigInt(priceAtomic))
    differences.push(`${served} served calls at ${priceAtomic} are not the ${chargedAtomic} charged.`)
  if (report.refusedAfterMs === null) differences.push('The thief was never refused.')
  if (report.refusedToThief === 0) differences.push('No call of the thief was refused.')
  if (report.servedWhileFrozen > 0) differences.push(`${report.servedWhileFrozen} calls were served after the freeze.`)
  if (lossOf(report).savedAtomic <= 0n) differences.push('Nothing was saved.')
  if (report.frozenOnChainAfterMs === null) differences.push('The chain never froze the grant.')
  if (report.frozenBy !== report.guardian)
    differences.push(`${report.frozenBy ?? 'Nobody'} froze it on the chain, not the guardian ${report.guardian}.`)
  for (const type of ['incident.opened', 'incident.stopped'])
    if (!report.alerts.includes(type)) differences.push(`The owner was not told ${type}.`)
  if (report.ownerSignatures !== 1)
    differences.push(`The owner signed ${report.ownerSignatures} operations instead of one to let the grant go on.`)
  if (servedAfterUnfreeze === 0) differences.push('The agent was not served after the owner let the grant go on.')
  return differences
}

/** The table at the end of the story. */
export function formatAttackReport(report: AttackReport, decimals: number): string {
  const { lostAtomic, savedAtomic } = lossOf(report)
  const money = (amount: bigint | string) => `${formatAmount(BigInt(amount), decimals)} USDC`
  const after = (ms: number | null) => (ms === null ? 'never' : `${ms} ms after the charge that broke the rule`)
  const rows: [string, string][] = [
    ['budget', money(report.budgetAtomic)],
    ['calls of the agent before', `${report.servedBefore}`],
    ['calls the thief got', `${report.servedToThief}`],
    ['calls the thief was refused', `${report.refusedToThief}`],
    ['found by', `${report.rule}: ${report.explanation}`],
    ['refused by the gateway', after(report.refusedAfterMs)],
    ['frozen on the chain', after(report.frozenOnChainAfterMs)],
    ['freeze transaction', report.freezeTransaction ?? 'none'],
    ['the owner was told', report.alerts.join(', ')],
    ['lost', money(lostAtomic)],
    ['saved', money(savedAtomic)],
    ['served after the unfreeze', `${report.servedAfterUnfreeze}`],
  ]
  const width = Math.max(...rows.map(([name]) => name.length))
  return rows.map(([name, value]) => `  ${name.padEnd(width)}  ${value}`).join('\n')
}
