import { type Problem, problemContentType } from '@protocolbanks/stream-protocol'

type ProblemOptions = {
  /** What happened, with the values of this occurrence. */
  detail?: string | undefined
  /** What to do next, in one sentence. */
  hint?: string | undefined
  headers?: Record<string, string>
  /** Instead of the page that explains our code: what another protocol calls it. */
  type?: string | undefined
}

const docs = 'https://docs.protocolbanks.com/errors'

/** An RFC 9457 answer. The code is stable; docs/errors.md lists all of them. */
export function problem(
  status: number,
  code: string,
  title: string,
  { detail, hint, headers, type }: ProblemOptions = {},
): Response {
  const body: Problem = {
    type: type ?? `${docs}#${code.replaceAll(/[._]/g, '-')}`,
    title,
    status,
    code,
    ...(detail !== undefined && { detail }),
    ...(hint !== undefined && { hint }),
  }
  return new Response(JSON.stringify(body), { status, headers: { ...headers, 'content-type': problemContentType } })
}
