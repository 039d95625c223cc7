/** Answers up to this many bytes are kept for a retry; the gateway's own bound, as for the bodies of requests. */
export const maxKeptBytes = 64 * 1024

/** Headers that belong to one connection or one moment, not to the answer. */
const transport = new Set(['connection', 'keep-alive', 'transfer-encoding', 'trailer', 'upgrade', 'date'])

/** What an answer says of itself, without its length: whoever gives it again knows that. */
export function withoutTransport(headers: Iterable<[string, string]>): [string, string][] {
  return [...headers].filter(([name]) => !transport.has(name.toLowerCase()) && name.toLowerCase() !== 'content-length')
}
