import { formatAmount, type GrantSource } from '@protocolbanks/stream-protocol'
import type { AccountKind } from '../story/openAccount.ts'

/** What `npm run demo -- --json FILE` writes. Amounts are base units, as decimal strings. */
export type DemoReport = {
  calls: number
  served: number
  refused: number
  chargedAtomic: string
  settledAtomic: string
  merchantReceivedAtomic: string
  /** What the account pays out of: its balance within the allowance, or its reserve, before the calls and at the end. */
  paidFrom: { source: GrantSource; beforeAtomic: string; afterAtomic: string }
  account: AccountKind
  /** UserOperations that the owner signed. */
  ownerSignatures: number
  /** EIP-7702 authorisations that the owner's EOA signed. */
  ownerAuthorizations: number
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
  const { calls, served, refused, chargedAtomic, settledAtomic, merchantReceivedAtomic, paidFrom } = report
  const differences: string[] = []
  if (served + refused !== calls) differences.push(`${calls} calls were made, ${served} served and ${refused} refused.`)
  if (BigInt(chargedAtomic) !== BigInt(served) * priceAtomic) {
    differences.push(`${served} served calls at ${priceAtomic} are not the ${chargedAtomic} charged.`)
  }
  if (settledAtomic !== chargedAtomic) differences.push(`Charged ${chargedAtomic}, but settled ${settledAtomic}.`)
  if (merchantReceivedAtomic !== settledAtomic) {
    differences.push(`Settled ${settledAtomic}, but the merchant's balance rose by ${merchantReceivedAtomic}.`)
  }
  const { source, beforeAtomic, afterAtomic } = paidFrom
  if (BigInt(beforeAtomic) - BigInt(settledAtomic) !== BigInt(afterAtomic)) {
    differences.push(`Of ${beforeAtomic} for the ${source} ${settledAtomic} were settled, but ${afterAtomic} are left.`)
  }
  if (report.ownerSignatures !== 1)
    differences.push(`The owner signed ${report.ownerSignatures} times instead of once.`)
  const authorizations = report.account === '7702' ? 1 : 0
  if (report.ownerAuthorizations !== authorizations) {
    differences.push(`The EOA signed ${report.ownerAuthorizations} authorisations instead of ${authorizations}.`)
  }
  if (report.accountEthSpentWei !== '0')
    differences.push(`The account spent ${report.accountEthSpentWei} wei of its own.`)
  return differences
}

const accounts: Record<AccountKind, string> = {
  stream: 'StreamAccount, deployed for the owner',
  '7702': "the owner's EOA itself, delegating to StreamAccount7702 (EIP-7702)",
}
const pots: Record<GrantSource, string> = { allowance: "account's balance", reserve: "account's reserve" }
/** What the first UserOperation does so that the grant can be paid. */
const funds: Record<GrantSource, string> = { allowance: 'approves', reserve: 'deposits' }
/** What the first UserOperation does to have an account. */
const makes: Record<AccountKind, string> = { stream: 'deploys', '7702': 'delegates' }

function formatSignatures({ account, ownerSignatures, ownerAuthorizations }: DemoReport): string {
  if (account === 'stream') return `${ownerSignatures}`
  return `${ownerSignatures} UserOperation, and ${ownerAuthorizations} EIP-7702 authorisation, once in the EOA's life`
}

/** The table at the end of the demo. */
export function formatReport(report: DemoReport, balance: MerchantBalance, decimals: number): string {
  const { paidFrom } = report
  const money = (amount: bigint | string) => `${formatAmount(BigInt(amount), decimals)} USDC`
  const rows: [string, string][] = [
    ['calls', `${report.calls}`],
    ['served', `${report.served}`],
    ['refused', `${report.refused}`],
    ['charged', money(report.chargedAtomic)],
    ['settled on-chain', money(report.settledAtomic)],
    ["merchant's balance before", money(balance.before)],
    ["merchant's balance after", money(balance.after)],
    ['account', accounts[report.account]],
    [pots[paidFrom.source], `${money(paidFrom.beforeAtomic)} before, ${money(paidFrom.afterAtomic)} after`],
    ["owner's signatures", formatSignatures(report)],
    [
      'UserOperations',
      `${report.userOperations} (the first one ${makes[report.account]}, installs, ${funds[paidFrom.source]} and grants)`,
    ],
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
