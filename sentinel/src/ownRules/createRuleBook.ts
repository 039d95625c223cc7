import { setTimeout as delay } from 'node:timers/promises'
import type { AllowanceForSentinel, RuleForSentinel, RuleHolder } from '@protocolbanks/stream-db'
import { compileRule } from '@protocolbanks/stream-rules'
import type { Logger } from 'pino'
import type { OwnRules } from './applyOwnRules.ts'
import { type OwnRule, toScopeSets } from './ownRule.ts'

type Listing = { after?: string | undefined; changedSince?: Date | undefined; limit: number }

export type RuleBookDeps = {
  listRules(of: Listing): Promise<RuleForSentinel[]>
  listAllowances(of: Listing): Promise<AllowanceForSentinel[]>
  /** Of the database: changes are dated by it. */
  readClock(): Promise<Date>
  clock(): number
  logger: Logger
  pollMs: number
}

export type RuleBook = OwnRules & {
  /** Reads what changed; everything, the first time. */
  refresh(): Promise<void>
  /** Refreshes until the signal. A database that does not answer leaves what was read. */
  run(signal: AbortSignal): Promise<void>
  rules(): number
  /** Since the rules were last read. */
  ageSeconds(): number
}

const pageSize = 1_000
/** A change that was committed late is dated earlier, by at most so long: the longest that a statement may run. */
const overlapMs = 15_000

/** All live rules and allow lists of the deployment, in memory and at most one poll old. */
export function createRuleBook(deps: RuleBookDeps): RuleBook {
  const { logger, clock } = deps
  const rules = new Map<string, OwnRule>()
  const ofAccount = new Map<string, OwnRule[]>()
  const ofPayee = new Map<string, OwnRule[]>()
  let ofOperator: OwnRule[] = []
  /** By id, for what is removed; and what is spared, by holder. */
  const allowances = new Map<string, { holder: string; name: string }>()
  const spared = new Map<string, Map<string, string>>()
  let readUntil: Date | undefined
  let readAtMs = clock()

  async function refresh(): Promise<void> {
    const until = await deps.readClock()
    const changedSince = readUntil && new Date(readUntil.getTime() - overlapMs)
    // Rules first: what was spared before a rule went live is read with the rule. Put in force together, so that no charge is
    // judged by a rule without its allow list.
    const changedRules = await readAll((page) => deps.listRules({ ...page, changedSince }))
    const changedAllowances = await readAll((page) => deps.listAllowances({ ...page, changedSince }))
    for (const entry of changedAllowances) allow(entry)
    for (const rule of changedRules) put(rule)
    readUntil = until
    readAtMs = clock()
  }

  function put(read: RuleForSentinel): void {
    const known = rules.get(read.id)
    if (known?.version === read.version && read.state === 'live') return
    if (known) {
      rules.delete(read.id)
      change(known, (list) => list.filter(({ id }) => id !== known.id))
    }
    if (read.state !== 'live') return
    const rule = toOwnRule(read)
    rules.set(rule.id, rule)
    change(rule, (list) => [...list, rule])
  }

  /** In the list of those that are looked at together. */
  function change({ holder, merchantPayee }: OwnRule, next: (list: OwnRule[]) => OwnRule[]): void {
    if (holder.account === null && holder.merchantId === null) {
      ofOperator = next(ofOperator)
      return
    }
    const [lists, key] = holder.account ? [ofAccount, holder.account.toLowerCase()] : [ofPayee, merchantPayee ?? '']
    const list = next(lists.get(key) ?? [])
    if (list.length > 0) lists.set(key, list)
    else lists.delete(key)
  }

  function allow({ id, kind, value, removedAt, ...of }: AllowanceForSentinel): void {
    const known = allowances.get(id)
    if (removedAt !== null) {
      if (!known) return
      allowances.delete(id)
      spared.get(known.holder)?.delete(known.name)
      return
    }
    if (known) return
    const [holder, name] = [holderKey(of), `${kind}:${value}`]
    allowances.set(id, { holder, name })
    const list = spared.get(holder) ?? new Map<string, string>()
    spared.set(holder, list.set(name, `the ${kind} ${value}`))
  }

  return {
    refresh,
    rules: () => rules.size,
    ageSeconds: () => (clock() - readAtMs) / 1_000,
    rulesFor({ account, payee }) {
      const [owners, merchants] = [ofAccount.get(account), ofPayee.get(payee)]
      if (!owners && !merchants) return ofOperator
      return [...(owners ?? []), ...(merchants ?? []), ...ofOperator]
    },
    sparedBy(holder, { grantId, payee, service }) {
      const list = spared.get(holderKey(holder))
      if (!list) return undefined
      return list.get(`grant:${grantId}`) ?? list.get(`payee:${payee}`) ?? list.get(`service:${service}`)
    },
    async run(signal) {
      let failures = 0
      while (!signal.aborted) {
        await delay(deps.pollMs, undefined, { signal }).catch(() => undefined)
        if (signal.aborted) return
        try {
          await refresh()
          if (failures > 0) logger.info({ failures }, 'rules are read again')
          failures = 0
        } catch (error) {
          if (failures++ === 0) logger.warn({ err: error }, 'rules cannot be read; those that were read go on')
        }
      }
    },
  }
}

/** A rule of the database as it is applied. */
export function toOwnRule(rule: Omit<RuleForSentinel, 'state' | 'failedVersion' | 'createdAt' | 'changedAt'>): OwnRule {
  const { id, version, name, merchantId, account, action, severity, blockSeconds, expression } = rule
  const compiled = compileRule(expression)
  return {
    id,
    version,
    name,
    holder: { merchantId, account },
    merchantPayee: rule.merchantPayee?.toLowerCase() ?? null,
    scope: toScopeSets(rule.scope),
    action,
    severity,
    blockMs: blockSeconds === null ? null : blockSeconds * 1_000,
    program: 'rule' in compiled ? compiled.rule : { problem: compiled.problem.message },
  }
}

async function readAll<T extends { id: string }>(
  list: (page: { after: string | undefined; limit: number }) => Promise<T[]>,
): Promise<T[]> {
  const all: T[] = []
  for (;;) {
    const page = await list({ after: all.at(-1)?.id, limit: pageSize })
    all.push(...page)
    if (page.length < pageSize) return all
  }
}

function holderKey({ merchantId, account }: RuleHolder): string {
  return merchantId ?? account?.toLowerCase() ?? 'operator'
}
