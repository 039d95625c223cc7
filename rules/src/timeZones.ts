/** The hour and the weekday at a moment, in a time zone of the IANA database. */
export type ZonedTime = { hour: number; weekday: number }

const quarterMs = 15 * 60_000
const names = /^[A-Za-z][A-Za-z0-9_+-]*(\/[A-Za-z0-9_+-]+){0,2}$/
const weekdays = ['Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat', 'Sun']

type Zone = { format: Intl.DateTimeFormat; quarter: number; time: ZonedTime }
/** By name as it was written. There are some 600 zones, and case is the only freedom. */
const zones = new Map<string, Zone>()
const maxZones = 1_000

export function isTimeZone(name: string): boolean {
  return zoneOf(name) !== undefined
}

/** Hours 0 to 23; weekdays 1, Monday, to 7, Sunday, as ISO 8601 numbers them. UTC for a name that is none. */
export function timeIn(name: string, atMs: number): ZonedTime {
  const zone = zoneOf(name)
  if (!zone) return utcTime(atMs)
  // Clocks of all zones change at quarters of an hour, so what was said of this quarter holds for all of it.
  const quarter = Math.floor(atMs / quarterMs)
  if (zone.quarter !== quarter) {
    zone.time = readTime(zone.format, quarter * quarterMs)
    zone.quarter = quarter
  }
  return zone.time
}

export function utcTime(atMs: number): ZonedTime {
  const date = new Date(atMs)
  return { hour: date.getUTCHours(), weekday: ((date.getUTCDay() + 6) % 7) + 1 }
}

function zoneOf(name: string): Zone | undefined {
  const known = zones.get(name)
  if (known) return known
  if (!names.test(name)) return undefined
  try {
    const format = new Intl.DateTimeFormat('en-US', {
      timeZone: name,
      hour: 'numeric',
      hourCycle: 'h23',
      weekday: 'short',
    })
    const zone: Zone = { format, quarter: Number.NaN, time: { hour: 0, weekday: 1 } }
    if (zones.size >= maxZones) zones.clear()
    zones.set(name, zone)
    return zone
  } catch {
    return undefined
  }
}

function readTime(format: Intl.DateTimeFormat, atMs: number): ZonedTime {
  let [hour, weekday] = [0, 1]
  for (const { type, value } of format.formatToParts(atMs)) {
    if (type === 'hour') hour = Number(value)
    if (type === 'weekday') weekday = weekdays.indexOf(value) + 1
  }
  return { hour, weekday }
}
