import {
  type Db,
  type Incident,
  isRuleLive,
  listAllowancesForSentinel,
  listDueRuleHolds,
  listRulesForSentinel,
  markRuleFailed,
  type NewIncident,
  openHoldingIncident,
  openIncident,
  readDatabaseClock,
} from '@protocolbanks/stream-db'
import type { Logger } from 'pino'
import type { JudgeOptions } from '../watch/judgeCharge.ts'
import type { Judgement } from '../watch/judgement.ts'
import { type ApplyHoldOptions, createApplyHold } from './applyHold.ts'
import type { OwnRules } from './applyOwnRules.ts'
import { createRuleBook } from './createRuleBook.ts'
import { runDryRuns } from './dryRunWorker.ts'
import { createHoldWorker } from './holdWorker.ts'

export type OwnRulesOptions = ApplyHoldOptions &
  Pick<JudgeOptions, 'rules' | 'scorer' | 'decimals'> & {
    db: Db
    clock(): number
    /** Of this process. */
    owner: string
    logger: Logger
    /** How often holds are looked at; rules are every second. */
    pollMs: number
  }

export type OwnRulesService = OwnRules & {
  /** Reads all rules, before the first charge is judged. */
  load(): Promise<void>
  /** That are live. */
  rules(): number
  /** Since they were last read. */
  ageSeconds(): number
  run(signal: AbortSignal): Promise<void>
  /**
   * Records what was found, by whichever rule, with the hold that it asks for. Of a rule that cannot be evaluated once, and
   * by one sentinel, and of one that was switched off not at all: then there is no incident.
   */
  open(judgement: Judgement, incident: NewIncident): Promise<Opened>
}

type Opened = { incident: Incident; isNew: boolean; stops: boolean } | { incident?: never; isNew: false; stops: false }

const rulesPollMs = 1_000

/** Everything about rules that somebody wrote: which there are, what they hold, and what they would have done. */
export function createOwnRules(options: OwnRulesOptions): OwnRulesService {
  const { db, clock, logger, pollMs } = options
  const now = () => new Date(clock())
  const book = createRuleBook({
    listRules: (of) => listRulesForSentinel(db, of),
    listAllowances: (of) => listAllowancesForSentinel(db, of),
    readClock: () => readDatabaseClock(db),
    clock,
    logger,
    pollMs: rulesPollMs,
  })
  const holds = createHoldWorker({
    listDueHolds: (limit) => listDueRuleHolds(db, { now: now(), limit }),
    apply: createApplyHold(options),
    pollMs,
    logger,
  })
  return {
    rulesFor: book.rulesFor,
    sparedBy: book.sparedBy,
    load: book.refresh,
    rules: book.rules,
    ageSeconds: book.ageSeconds,
    async run(signal) {
      await Promise.all([
        book.run(signal),
        holds.run(signal),
        runDryRuns({ ...options, sparedBy: book.sparedBy }, signal),
      ])
    },
    async open({ hold, failedRule }, incident) {
      // Switched off a moment ago: what it would stop now would go on after it was let go.
      if (incident.ruleId !== null && !(await isRuleLive(db, incident.ruleId))) return { isNew: false, stops: false }
      if (failedRule && !(await markRuleFailed(db, failedRule))) return { isNew: false, stops: false }
      if (!hold) return openIncident(db, incident)
      const { forMs, ...what } = hold
      const until = forMs === null ? null : new Date(incident.now.getTime() + forMs)
      const opened = await openHoldingIncident(db, incident, { ...what, reason: what.reason.slice(0, 200), until })
      if (opened.isNew) holds.wake()
      return opened
    },
  }
}
