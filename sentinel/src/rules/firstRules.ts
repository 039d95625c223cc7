/**
 * The three rules of the first release, as one pure step over a state of bounded size. A rule that fires is a value: what
 * to do about it is the caller's decision, `action` its advice.
 */
export type RulesState = {
  calls: number
  /** Base units. */
  spentAtomic: bigint
  largestAtomic: bigint
  firstMs: number
  lastMs: number
  /** When the newest calls were, at most `mostCallsPerMinute` of them, as a ring. */
  newestMs: number[]
  nextIndex: number
  /** The most funds since the last alert. */
  highestFundsAtomic: bigint
  lowBudget: boolean
  lowFunds: boolean
}

export type RulesEvent = {
  atMs: number
  amountAtomic: bigint
  /** What the grant may still spend of `budgetAtomic`, after this charge. */
  remainingBudgetAtomic: bigint
  budgetAtomic: bigint
  /** What its source can pay, after this charge; undefined when it is not known. */
  fundsAtomic?: bigint | undefined
}

export type RulesOptions = {
  /** A payment above so many times the average of those before is refused. */
  largestTimesAverage: bigint
  /** But not among the first calls, */
  amountWarmUpCalls: number
  /** nor when it is at most so many times the largest so far: what stood before does not freeze again. */
  familiarTimesLargest: bigint
  mostCallsPerMinute: number
  /** Nor is the rate judged in the first minutes: agents begin with a burst. */
  rateWarmUpMs: number
  /** Remaining budget or funds below this share, in per cent, alert. */
  lowPercent: bigint
  /** And alert again after they were above this share. */
  recoveredPercent: bigint
  remainingWarmUpCalls: number
}

export type Finding =
  | { rule: 'amount.above_average'; action: 'freeze'; amountAtomic: bigint; averageAtomic: bigint }
  | { rule: 'calls.per_minute'; action: 'freeze'; calls: number; sinceMs: number }
  | { rule: 'budget.low'; action: 'alert'; remainingAtomic: bigint; ofAtomic: bigint }
  | { rule: 'funds.low'; action: 'alert'; remainingAtomic: bigint; ofAtomic: bigint }

export const firstRules: RulesOptions = {
  largestTimesAverage: 10n,
  amountWarmUpCalls: 20,
  familiarTimesLargest: 5n,
  mostCallsPerMinute: 100,
  rateWarmUpMs: 10 * 60_000,
  lowPercent: 10n,
  recoveredPercent: 15n,
  remainingWarmUpCalls: 3,
}

export function createRulesState(): RulesState {
  return {
    calls: 0,
    spentAtomic: 0n,
    largestAtomic: 0n,
    firstMs: 0,
    lastMs: 0,
    newestMs: [],
    nextIndex: 0,
    highestFundsAtomic: 0n,
    lowBudget: false,
    lowFunds: false,
  }
}

/**
 * What the rules say of this charge. Takes it into the state, in place. Charges come in the order of their time; an
 * earlier one counts as of the latest moment.
 *
 * @example
 * const state = createRulesState()
 * const findings = applyRules(state, charge, firstRules)
 * if (findings.some(({ action }) => action === 'freeze')) await freeze(grantId)
 */
export function applyRules(state: RulesState, event: RulesEvent, options: RulesOptions): Finding[] {
  if (state.calls === 0) state.firstMs = event.atMs
  const atMs = Math.max(event.atMs, state.lastMs, state.firstMs)
  const findings = [
    largeAmount(state, event, options),
    manyCalls(state, atMs, options),
    lowBudget(state, event, options),
    lowFunds(state, event, options),
  ]
  state.lastMs = atMs
  state.calls++
  state.spentAtomic += event.amountAtomic
  if (event.amountAtomic > state.largestAtomic) state.largestAtomic = event.amountAtomic
  return findings.filter((finding) => finding !== undefined)
}

function largeAmount(state: RulesState, { amountAtomic }: RulesEvent, options: RulesOptions): Finding | undefined {
  if (state.calls < options.amountWarmUpCalls) return undefined
  // Multiplied out: the average itself would be rounded. Free calls before leave nothing to compare with.
  if (state.spentAtomic === 0n) return undefined
  if (amountAtomic <= options.familiarTimesLargest * state.largestAtomic) return undefined
  if (amountAtomic * BigInt(state.calls) <= options.largestTimesAverage * state.spentAtomic) return undefined
  return {
    rule: 'amount.above_average',
    action: 'freeze',
    amountAtomic,
    averageAtomic: state.spentAtomic / BigInt(state.calls),
  }
}

/** More than the most in any 60 seconds, not in the minutes of the clock: of the ring, the oldest is that many calls ago. */
function manyCalls(state: RulesState, atMs: number, options: RulesOptions): Finding | undefined {
  const most = options.mostCallsPerMinute
  const sinceMs = state.newestMs.length === most ? state.newestMs[state.nextIndex] : undefined
  state.newestMs[state.nextIndex] = atMs
  state.nextIndex = (state.nextIndex + 1) % most
  if (sinceMs === undefined || atMs - sinceMs >= 60_000) return undefined
  if (atMs - state.firstMs < options.rateWarmUpMs) return undefined
  return { rule: 'calls.per_minute', action: 'freeze', calls: most + 1, sinceMs }
}

function lowBudget(state: RulesState, event: RulesEvent, options: RulesOptions): Finding | undefined {
  const { remainingBudgetAtomic: remainingAtomic, budgetAtomic: ofAtomic } = event
  if (isAtLeast(remainingAtomic, ofAtomic, options.recoveredPercent)) state.lowBudget = false
  if (state.lowBudget || state.calls < options.remainingWarmUpCalls) return undefined
  if (isAtLeast(remainingAtomic, ofAtomic, options.lowPercent)) return undefined
  state.lowBudget = true
  return { rule: 'budget.low', action: 'alert', remainingAtomic, ofAtomic }
}

function lowFunds(state: RulesState, { fundsAtomic }: RulesEvent, options: RulesOptions): Finding | undefined {
  if (fundsAtomic === undefined) return undefined
  if (fundsAtomic > state.highestFundsAtomic) state.highestFundsAtomic = fundsAtomic
  const ofAtomic = state.highestFundsAtomic
  if (isAtLeast(fundsAtomic, ofAtomic, options.recoveredPercent)) state.lowFunds = false
  if (state.lowFunds || state.calls < options.remainingWarmUpCalls) return undefined
  if (isAtLeast(fundsAtomic, ofAtomic, options.lowPercent)) return undefined
  state.lowFunds = true
  // From here on money is compared with what comes in now: what there was once is no measure for ever.
  state.highestFundsAtomic = fundsAtomic
  return { rule: 'funds.low', action: 'alert', remainingAtomic: fundsAtomic, ofAtomic }
}

function isAtLeast(part: bigint, whole: bigint, percent: bigint): boolean {
  return part * 100n >= whole * percent
}
