/** What a response was made of, as long as nobody has begun to read it. Names of headers in lower case. */
export type AnswerAtHand = {
  body: string | Uint8Array<ArrayBuffer> | null
  headers: Record<string, string>
}

const defaultContentType = 'text/plain; charset=UTF-8'

/**
 * Under @hono/node-server a `Response` that is made of a string, of bytes or of nothing keeps what it was given, in a
 * property of its own, and is sent from there. To ask it for `body` or `text()` makes a stream of it first, which costs as
 * much as to check a signature. Undefined for every other response, for one that was read, and for one that sets cookies
 * (more than one line of a name): these are read as usual.
 */
export function answerAtHand(response: Response): AnswerAtHand | undefined {
  const kept = keptOf(response)
  if (!kept) return undefined
  const [, body, given] = kept
  if (body !== null && typeof body !== 'string' && !(body instanceof Uint8Array)) return undefined
  const headers = toRecord(given ?? [])
  if (!headers) return undefined
  // As node-server does where names were not given as they are in the end.
  if (body !== null && (given === undefined || given instanceof Headers || Array.isArray(given))) {
    headers['content-type'] ??= defaultContentType
  }
  return { body: body as AnswerAtHand['body'], headers }
}

let keptAt: symbol | undefined

/** Status, body and headers as node-server's `Response` was made of. */
function keptOf(response: Response): readonly unknown[] | undefined {
  keptAt ??= Object.getOwnPropertySymbols(response).find(({ description }) => description === 'cache')
  const kept: unknown = keptAt && Reflect.get(response, keptAt)
  return Array.isArray(kept) && kept.length === 3 ? kept : undefined
}

function toRecord(given: unknown): Record<string, string> | undefined {
  const headers: Record<string, string> = {}
  const pairs = given instanceof Headers || Array.isArray(given) ? given : Object.entries(given as object)
  for (const [name, value] of pairs as Iterable<[string, unknown]>) {
    const key = name.toLowerCase()
    if (typeof value !== 'string' || key === 'set-cookie' || key in headers) return undefined
    headers[key] = value
  }
  return headers
}
