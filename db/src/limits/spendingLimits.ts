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

type Nullable = { [limit in keyof SpendingLimits]: SpendingLimits[limit] | null }

/** From columns, or fields of a request, of the same names: null is no limit there. */
export function toSpendingLimits(row: Nullable): NamedSpendingLimits {
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

/** Of each limit the lower one. */
export function strictest(left: SpendingLimits, right: SpendingLimits): NamedSpendingLimits {
  return {
    maxAmountPerCall: lower(left.maxAmountPerCall, right.maxAmountPerCall),
    maxCallsPerMinute: lower(left.maxCallsPerMinute, right.maxCallsPerMinute),
    maxCallsPerHour: lower(left.maxCallsPerHour, right.maxCallsPerHour),
    maxCallsPerDay: lower(left.maxCallsPerDay, right.maxCallsPerDay),
    maxAmountPerMinute: lower(left.maxAmountPerMinute, right.maxAmountPerMinute),
    maxAmountPerHour: lower(left.maxAmountPerHour, right.maxAmountPerHour),
    maxAmountPerDay: lower(left.maxAmountPerDay, right.maxAmountPerDay),
  }
}

function lower<limit extends number | bigint>(left: limit | undefined, right: limit | undefined): limit | undefined {
  if (left === undefined || right === undefined) return left ?? right
  return left < right ? left : right
}
