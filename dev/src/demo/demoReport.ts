import { formatAmount } from '@protocolbanks/stream-protocol'

/** What `npm run demo -- --json FILE` writes. Amounts are base units, as decimal strings. */
export type DemoReport = {
  calls: number
  served: number
  refused: number
  chargedAtomic: string
  settledAtomic: string
  merchantReceivedAtomic: string
  ownerSignatures: number
  userOperations: number
  /** ETH that left the account, the owner and the agent together. */
  accountEthSpentWei: string
  gasPerSettlement: number
  gasPerCall: number
  /** Time the gateway added to a call, milliseconds, without the upstream's. */
  addedMs: { p50: number; p99: number }
  meter: 'redis' | 'embedded'
  entryPoint: string
}

export type MerchantBalance = { before: bigint; after: bigint }

/** Sentences that say what does not add up; none when every unit arrived. */
export function findDifferences(report: DemoReport, priceAtomic: bigint): string[] {
  const { calls, served, refused, chargedAtomic, settledAtomic, merchantReceivedAtomic } = report
  const differences: string[] = []
  if (served + refused !== calls) differences.push(`${calls} calls were made, ${served} served and ${refused} refused.`)
  if (BigInt(chargedAtomic) !== BigInt(served) * priceAtomic) {
    differences.push(`${served} served calls at ${priceAtomic} are not the ${chargedAtomic} charged.`)
  }
  if (settledAtomic !== chargedAtomic) differences.push(`Charged ${chargedAtomic}, but settled ${settledAtomic}.`)
  if (merchantReceivedAtomic !== settledAtomic) {
    differences.push(`Settled ${settledAtomic}, but the merchant's balance rose by ${merchantReceivedAtomic}.`)
  }
  if (report.ownerSignatures !== 1)
    differences.push(`The owner signed ${report.ownerSignatures} times instead of once.`)
  if (report.accountEthSpentWei !== '0')
    differences.push(`The account spent ${report.accountEthSpentWei} wei of its own.`)
  return differences
}

/** The table at the end of the demo. */
export function formatReport(report: DemoReport, balance: MerchantBalance, decimals: number): string {
  const money = (amount: bigint | string) => `${formatAmount(BigInt(amount), decimals)} USDC`
  const rows: [string, string][] = [
    ['calls', `${report.calls}`],
    ['served', `${report.served}`],
    ['refused', `${report.refused}`],
    ['charged', money(report.chargedAtomic)],
    ['settled on-chain', money(report.settledAtomic)],
    ["merchant's balance before", money(balance.before)],
    ["merchant's balance after", money(balance.after)],
    ["owner's signatures", `${report.ownerSignatures}`],
    ['UserOperations', `${report.userOperations} (the first one deploys, installs, approves and grants)`],
    ['gas paid by', `the paymaster; ETH spent by account, owner and agent: ${report.accountEthSpentWei} wei`],
    ['gas per settlement', `${report.gasPerSettlement}`],
    ['gas per call', `${report.gasPerCall}`],
    ['added by the gateway', `p50 ${report.addedMs.p50} ms, p99 ${report.addedMs.p99} ms`],
    ['meter', report.meter],
    ['EntryPoint', report.entryPoint],
  ]
  const width = Math.max(...rows.map(([name]) => name.length))
  return rows.map(([name, value]) => `  ${name.padEnd(width)}  ${value}`).join('\n')
}
