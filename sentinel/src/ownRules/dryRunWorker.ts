import { setTimeout as delay } from 'node:timers/promises'
import type { Db, DryRun, RuleForSentinel } from '@protocolbanks/stream-db'
import {
  countChargesForDryRun,
  finishDryRun,
  getMerchant,
  leaseDryRun,
  listChargesForDryRun,
  readGrantBudgets,
  readSpentSince,
} from '@protocolbanks/stream-db'
import type { Logger } from 'pino'
import type { JudgeOptions } from '../watch/judgeCharge.ts'
import type { OwnRules } from './applyOwnRules.ts'
import { toOwnRule } from './createRuleBook.ts'
import { dryRunBounds, runDryRun } from './runDryRun.ts'

export type DryRunWorkerDeps = Pick<JudgeOptions, 'rules' | 'scorer' | 'decimals'> & {
  db: Db
  sparedBy: OwnRules['sparedBy']
  clock(): number
  logger: Logger
  /** Of this process. */
  owner: string
  pollMs: number
}

/** Long enough for the longest that one may take, twice. */
const leaseMs = 2 * dryRunBounds.ms
/** After each page as long as it took, so that at most half of the processor's time goes here. */
const mostPauseMs = 250

/** Takes dry runs one after the other, and stores what came of them. */
export async function runDryRuns(deps: DryRunWorkerDeps, signal: AbortSignal): Promise<void> {
  const { db, logger, clock, owner, pollMs } = deps
  let failures = 0
  while (!signal.aborted) {
    let busy = false
    try {
      const run = await leaseDryRun(db, { owner, now: new Date(clock()), leaseMs })
      busy = run !== undefined
      if (run) await finish(run)
      failures = 0
    } catch (error) {
      if (failures++ === 0) logger.warn({ err: error }, 'dry runs of rules wait')
      busy = false
    }
    if (!busy) await delay(pollMs, undefined, { signal }).catch(() => undefined)
  }

  async function finish(run: DryRun): Promise<void> {
    const outcome = await outcomeOf(run)
    if (!outcome) return
    await finishDryRun(db, { id: run.id, owner, now: new Date(clock()), outcome })
    logger.info({ dryRun: run.id, ...('error' in outcome && outcome) }, 'a dry run of a rule ended')
  }

  /** Undefined when this sentinel stops: another takes it after the lease. */
  async function outcomeOf(run: DryRun) {
    try {
      const rule = toOwnRule(await candidateOf(run))
      if ('problem' in rule.program) return { error: rule.program.problem }
      let startedMs = clock()
      const result = await runDryRun(run, rule, {
        ...deps,
        listCharges: (page) => listChargesForDryRun(db, page),
        countCharges: (of) => countChargesForDryRun(db, of),
        loadBudgets: (grantIds) => readGrantBudgets(db, grantIds),
        readSpentSince: (of) => readSpentSince(db, of),
        async pause() {
          await delay(Math.min(Math.max(0, clock() - startedMs), mostPauseMs), undefined, { signal })
          startedMs = clock()
        },
      })
      return { result }
    } catch (error) {
      if (signal.aborted) return undefined
      logger.warn({ err: error, dryRun: run.id }, 'a dry run of a rule failed')
      return { error: error instanceof Error ? (error.message.split('\n')[0] ?? '') : String(error) }
    }
  }

  /** The rule as it would be live. */
  async function candidateOf(run: DryRun): Promise<Parameters<typeof toOwnRule>[0]> {
    const { merchantId, account, expression, scope, action, blockSeconds, ruleId, ruleVersion, id } = run
    const merchant = merchantId === null ? undefined : await getMerchant(db, merchantId)
    const candidate: Omit<RuleForSentinel, 'state' | 'failedVersion' | 'createdAt' | 'changedAt'> = {
      ...{ merchantId, account, expression, scope, action, blockSeconds },
      id: ruleId ?? id,
      version: ruleVersion ?? 1,
      name: 'dry run',
      severity: 'info',
      merchantPayee: merchant?.payee ?? null,
    }
    return candidate
  }
}
