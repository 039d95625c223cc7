export type PlanPolicy = {
  nowMs: number
  /** Nothing of the guardian's is on its way: what is due goes at once. */
  isIdle: boolean
  /** Else it waits for so long for others that come at the same time. */
  gatherMs: number
  /** Stops in one transaction. */
  mostStops: number
}

/**
 * What goes into one transaction: all that is due, oldest first, in parts that fit a block. A single one waits for nothing;
 * what comes while it is on its way goes together.
 *
 * @returns `lookAgainMs`: when what waits has to be looked at
 */
export function planBatches<stop extends { createdAt: Date }>(
  due: readonly stop[],
  { nowMs, isIdle, gatherMs, mostStops }: PlanPolicy,
): { batches: stop[][]; lookAgainMs: number | undefined } {
  const [oldest] = due
  if (!oldest) return { batches: [], lookAgainMs: undefined }
  const waitsMs = isIdle || due.length >= mostStops ? 0 : gatherMs - (nowMs - oldest.createdAt.getTime())
  if (waitsMs > 0) return { batches: [], lookAgainMs: waitsMs }
  const batches: stop[][] = []
  for (let start = 0; start < due.length; start += mostStops) batches.push(due.slice(start, start + mostStops))
  return { batches, lookAgainMs: undefined }
}
