import type {
  DryRun,
  DryRunResult,
  DryRunSelection,
  GrantBudget,
  Charge as JournalCharge,
} from '@protocolbanks/stream-db'
import type { Hex } from '@protocolbanks/stream-protocol'
import { fromJournal } from '../watch/fromJournal.ts'
import { createGrantMemory, type GrantMemory } from '../watch/grantMemory.ts'
import { type JudgeOptions, namesOf, observeCharge } from '../watch/judgeCharge.ts'
import type { OwnRules } from './applyOwnRules.ts'
import { seesOf } from './applyOwnRules.ts'
import { createDryRunTally } from './createDryRunTally.ts'
import { isInScope, type OwnRule } from './ownRule.ts'

type Range = DryRunSelection & { from: Date; until: Date }

export type DryRunDeps = Pick<JudgeOptions, 'rules' | 'scorer' | 'decimals'> & {
  listCharges(
    page: Range & { after: { at: Date; eventId: string } | undefined; limit: number },
  ): Promise<JournalCharge[]>
  countCharges(of: Range & { most: number }): Promise<number>
  loadBudgets(grantIds: readonly Hex[]): Promise<GrantBudget[]>
  readSpentSince(of: { grantIds: readonly Hex[]; since: Date }): Promise<Map<Hex, bigint>>
  /** The allow list of who asks. */
  sparedBy: OwnRules['sparedBy']
  clock(): number
  /** Between two pages: what is charged now comes first. */
  pause(): Promise<void>
  bounds?: Partial<typeof dryRunBounds> | undefined
}

export const dryRunBounds = {
  /** Those that are only learned from included. */
  charges: 500_000,
  grants: 5_000,
  ms: 120_000,
  /** Before the time, to know what windows, average and score were. */
  learnCharges: 250_000,
}

const pageSize = 500
const day = 86_400_000
const learnDays = [7, 1]

type Watched = { memory: GrantMemory; limit: bigint; charged: bigint }

/**
 * What a rule would have done over the journal of a time, with the code that judges live charges. What a stop would have
 * refused is counted and not judged, as it would not have been charged. What owners could pay then is not known, so rules
 * that ask for `funds` find nothing where it matters.
 */
export async function runDryRun(run: DryRun, rule: OwnRule, deps: DryRunDeps): Promise<DryRunResult> {
  const { clock } = deps
  const bounds = { ...dryRunBounds, ...deps.bounds }
  const endsAtMs = clock() + bounds.ms
  const selection = selectionOf(run)
  const learnedFrom = await whereToLearnFrom(run, selection, deps, bounds.learnCharges)
  const tally = createDryRunTally(rule)
  const grants = new Map<Hex, Watched>()
  let [read, after]: [number, { at: Date; eventId: string } | undefined] = [0, undefined]

  for (;;) {
    const limit = Math.min(pageSize, bounds.charges - read)
    const page = await deps.listCharges({ ...selection, from: learnedFrom, until: run.untilAt, after, limit })
    await meet(page.map(({ grantId }) => grantId))
    for (const charge of page) judge(charge)
    read += page.length
    const newest = page.at(-1)
    if (page.length < limit || !newest) break
    after = { at: newest.occurredAt, eventId: newest.eventId }
    const reason = read >= bounds.charges ? 'charges' : clock() >= endsAtMs ? 'time' : undefined
    if (reason) {
      tally.cutShort(newest.occurredAt, reason)
      break
    }
    await deps.pause()
  }
  return tally.end(learnedFrom)

  /** Reads what is to be known of grants that come for the first time. */
  async function meet(ids: readonly Hex[]): Promise<void> {
    const fresh = [...new Set(ids)].filter((id) => !grants.has(id)).slice(0, bounds.grants - grants.size)
    if (fresh.length === 0) return
    const [budgets, spent] = await Promise.all([
      deps.loadBudgets(fresh),
      deps.readSpentSince({ grantIds: fresh, since: learnedFrom }),
    ])
    for (const { grantId, totalLimit, charged } of budgets) {
      const before = charged - (spent.get(grantId) ?? 0n)
      grants.set(grantId, {
        memory: createGrantMemory(deps.scorer),
        limit: totalLimit,
        charged: before > 0n ? before : 0n,
      })
    }
  }

  function judge(journalled: JournalCharge): void {
    const charge = fromJournal(journalled)
    const watched = grants.get(charge.grantId)
    const counts = journalled.occurredAt >= run.fromAt
    if (!watched) {
      tally.cutShort(journalled.occurredAt, 'grants')
      return
    }
    if (counts && tally.isStopped(charge)) return
    watched.charged += charge.amountAtomic
    const left = watched.limit - watched.charged
    const seen = { ...charge, budgetAtomic: watched.limit, remainingBudgetAtomic: left > 0n ? left : 0n }
    const { factsFor } = observeCharge(watched.memory, seen, deps)
    const names = namesOf(seen)
    if (!counts || !isInScope(rule, names) || 'problem' in rule.program) return
    const facts = factsFor(seesOf(rule))
    const outcome = rule.program.evaluate(facts)
    const spared = rule.action !== 'alert' && deps.sparedBy(rule.holder, names) !== undefined
    tally.take(charge, outcome, spared, () => ('problem' in rule.program ? {} : rule.program.valuesOf(facts)))
  }
}

/** All charges of the grants that the rule may look at: what else they were charged belongs to their score. */
function selectionOf({ account, merchantId, scope }: DryRun): DryRunSelection {
  return { account: account ?? undefined, merchantId: merchantId ?? undefined, grantIds: scope.grantIds }
}

async function whereToLearnFrom(
  { fromAt }: DryRun,
  selection: DryRunSelection,
  { countCharges }: Pick<DryRunDeps, 'countCharges'>,
  most: number,
): Promise<Date> {
  for (const days of learnDays) {
    const from = new Date(fromAt.getTime() - days * day)
    const count = await countCharges({ ...selection, from, until: fromAt, most: most + 1 })
    if (count <= most) return from
  }
  return fromAt
}
