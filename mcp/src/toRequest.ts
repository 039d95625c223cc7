import { placeholdersOf, type Tool } from './toolSettings.ts'

/** The HTTP request of one call. Arguments are encoded, so that none can leave its place in the URL. */
export function toRequest(
  { method, url: template, arguments: known }: Tool,
  values: Record<string, unknown>,
): { url: string; init: RequestInit } {
  const placed = new Set(placeholdersOf(template))
  const filled = template.replace(/\{(\w+)\}/g, (_, name: string) => encodeSegment(String(values[name] ?? '')))
  const rest = Object.entries(values).filter(
    ([name, value]) => !placed.has(name) && name in known && value !== undefined,
  )
  const url = new URL(filled)
  if (method === 'GET' || method === 'DELETE') {
    for (const [name, value] of rest) url.searchParams.set(name, String(value))
    return { url: url.href, init: { method } }
  }
  return {
    url: url.href,
    init: {
      method,
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(Object.fromEntries(rest)),
    },
  }
}

/** A segment of dots alone would be a step up in the path, encoded or not. */
function encodeSegment(text: string): string {
  if (/^\.{0,2}$/.test(text))
    throw new RangeError(`An argument in the URL is ${JSON.stringify(text)}, which names nothing.`)
  return encodeURIComponent(text)
}
