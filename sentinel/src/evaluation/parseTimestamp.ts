/**
 * Milliseconds since 1970 of an ISO 8601 time or one with slashes, UTC unless it says otherwise, or of a number: seconds, or by its size
 * milli-, micro- or nanoseconds. Undefined when it is neither.
 */
export function parseTimestamp(text: string): number | undefined {
  if (text === '') return undefined
  const number = Number(text)
  if (Number.isFinite(number)) {
    // 1e11 seconds are the year 5138, 1e11 milliseconds 1973.
    const size = Math.abs(number)
    if (size < 1e11) return number * 1_000
    if (size < 1e14) return number
    return size < 1e17 ? number / 1e3 : number / 1e6
  }
  // 1/31/2014 23:59 and 2014/01/31 23:59, as spreadsheets write them.
  if (/^\d{1,4}\/\d{1,2}\/\d{1,4}( [\d:.]+)?$/.test(text)) {
    const parsed = Date.parse(`${text} UTC`)
    return Number.isNaN(parsed) ? undefined : parsed
  }
  const iso = text.replace(' ', 'T')
  const parsed = Date.parse(/T.*(Z|[+-]\d\d:?\d\d)$/i.test(iso) || !iso.includes('T') ? iso : `${iso}Z`)
  return Number.isNaN(parsed) ? undefined : parsed
}
