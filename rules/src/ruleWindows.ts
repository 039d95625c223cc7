const second = 1_000
const minute = 60 * second
const hour = 60 * minute
const day = 24 * hour

/** How far back a rule may look: a closed list, so that what is remembered of a grant stays the same size. */
export const ruleWindows = {
  '10s': 10 * second,
  '1m': minute,
  '5m': 5 * minute,
  '10m': 10 * minute,
  '1h': hour,
  '6h': 6 * hour,
  '24h': day,
  '7d': 7 * day,
} as const

export type RuleWindow = keyof typeof ruleWindows

/** A window is counted in so many slices, and covers at most one slice more than its name says. */
export const slicesPerWindow = 12

export const ruleWindowNames = Object.keys(ruleWindows) as RuleWindow[]

export function isRuleWindow(text: string): text is RuleWindow {
  return Object.hasOwn(ruleWindows, text)
}
