/** How fast something may be spent. Undefined is no limit; windows are whole minutes, hours and days of UTC. */
export type SpendingLimits = {
  /** Base units. */
  maxAmountPerCall?: bigint | undefined
  maxCallsPerMinute?: number | undefined
  maxCallsPerHour?: number | undefined
  maxCallsPerDay?: number | undefined
  maxAmountPerMinute?: bigint | undefined
  maxAmountPerHour?: bigint | undefined
  maxAmountPerDay?: bigint | undefined
}

/** Every limit named, if only as undefined. */
export type NamedSpendingLimits = { [limit in keyof Required<SpendingLimits>]: SpendingLimits[limit] }

type Row = { [limit in keyof Required<SpendingLimits>]: Exclude<SpendingLimits[limit], undefined> | null }

/** From columns of the same names. */
export function toSpendingLimits(row: Row): NamedSpendingLimits {
  return {
    maxAmountPerCall: row.maxAmountPerCall ?? undefined,
    maxCallsPerMinute: row.maxCallsPerMinute ?? undefined,
    maxCallsPerHour: row.maxCallsPerHour ?? undefined,
    maxCallsPerDay: row.maxCallsPerDay ?? undefined,
    maxAmountPerMinute: row.maxAmountPerMinute ?? undefined,
    maxAmountPerHour: row.maxAmountPerHour ?? undefined,
    maxAmountPerDay: row.maxAmountPerDay ?? undefined,
  }
}
