/**
 * A JSON value in the one form of RFC 8785 (JSON Canonicalization Scheme): members sorted by their names, no white space.
 * Members that are undefined are left out, as `JSON.stringify` does.
 *
 * @example canonicalJson({ b: [1], a: 'x' }) // '{"a":"x","b":[1]}'
 */
export function canonicalJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map((item) => canonicalJson(item ?? null)).join(',')}]`
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  const members = Object.entries(value).filter(([, member]) => member !== undefined)
  // By UTF-16 code units, as section 3.2.3 asks for and as comparing strings does.
  members.sort(([a], [b]) => (a < b ? -1 : 1))
  return `{${members.map(([name, member]) => `${JSON.stringify(name)}:${canonicalJson(member)}`).join(',')}}`
}
