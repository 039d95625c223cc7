/** The mean of each part of a cycle that time repeats: the hours of a day, the hours of a week. */
export type SeasonalProfile = {
  means: number[]
  /** In how many cycles a part was seen. */
  visits: number[]
  /** The visit that goes on: to which part, counted from the epoch; its mean of how many values; the mean before it. */
  newest: number | null
  samples: number
  visitMean: number
  meanBefore: number
}

/** Which cycle, and in how many parts. */
export type Cycle = { lengthMs: number; parts: number }

const hourMs = 3_600_000
// The epoch was at 00:00 UTC, so days and weeks need no calendar.
export const dayCycle: Cycle = { lengthMs: 24 * hourMs, parts: 48 }
export const weekCycle: Cycle = { lengthMs: 7 * 24 * hourMs, parts: 168 }

/** A visit counts for at least one in so many: after that the profile forgets. */
const remembered = 8

export function createSeasonalProfile({ parts }: Cycle): SeasonalProfile {
  const zeros = () => new Array<number>(parts).fill(0)
  return { means: zeros(), visits: zeros(), newest: null, samples: 0, visitMean: 0, meanBefore: 0 }
}

/**
 * The mean at this time of the cycle, interpolated between the middles of its parts; undefined where it was seen in fewer
 * than `leastVisits` cycles, the one that goes on included.
 */
export function profileAt(
  { means, visits }: SeasonalProfile,
  { lengthMs, parts }: Cycle,
  timestampMs: number,
  leastVisits: number,
): number | undefined {
  const position = (timestampMs / lengthMs) * parts - 0.5
  const lower = Math.floor(position)
  const weight = position - lower
  const [a, b] = [modulo(lower, parts), modulo(lower + 1, parts)]
  if ((visits[weight < 0.5 ? a : b] ?? 0) < leastVisits) return undefined
  const [left, right] = [means[a] ?? 0, means[b] ?? 0]
  if (!visits[a]) return right
  return visits[b] ? left * (1 - weight) + right * weight : left
}

export function learnProfile(
  profile: SeasonalProfile,
  { lengthMs, parts }: Cycle,
  timestampMs: number,
  value: number,
): void {
  const absolute = Math.floor((timestampMs / lengthMs) * parts)
  const part = modulo(absolute, parts)
  if (absolute !== profile.newest) {
    profile.newest = absolute
    profile.samples = 0
    profile.visitMean = 0
    profile.meanBefore = profile.means[part] ?? 0
    profile.visits[part] = Math.min((profile.visits[part] ?? 0) + 1, remembered)
  }
  profile.samples++
  profile.visitMean += (value - profile.visitMean) / profile.samples
  // All values of a visit together weigh as much as one earlier visit.
  profile.means[part] = profile.meanBefore + (profile.visitMean - profile.meanBefore) / (profile.visits[part] ?? 1)
}

function modulo(value: number, divisor: number): number {
  return ((value % divisor) + divisor) % divisor
}
