import type { z } from 'zod'
import { CliError } from './cliError.ts'
import type { Config } from './config.ts'
import { problemSchema } from './schemas.ts'

/** The management API of a gateway. Every answer is checked before anybody sees it. */
export type Client = {
  get<T extends z.ZodType>(path: string, schema: T): Promise<z.output<T>>
  post<T extends z.ZodType>(path: string, body: unknown, schema: T): Promise<z.output<T>>
}

const timeoutMs = 30_000
const maxAnswerBytes = 8 * 1024 * 1024

/** @throws CliError when the gateway refuses, does not answer in 30 s, or is none */
export function createClient({ url, key }: Config): Client {
  async function call<T extends z.ZodType>(method: string, path: string, schema: T, body?: unknown) {
    const { status, text } = await send(method, path, body)
    const value = parseJson(text)
    if (status >= 400) throw refusal(status, value)
    const parsed = schema.safeParse(value)
    if (parsed.success) return parsed.data
    const [issue] = parsed.error.issues
    throw new CliError('The answer is not what a gateway of this version says.', [
      `Route: ${method} ${url}/api${path}`,
      `At: ${issue?.path.join('.') || 'the whole answer'}: ${issue?.message ?? ''}`,
      'Check PB_URL, and that the command and the gateway are of one version.',
    ])
  }

  async function send(method: string, path: string, body: unknown): Promise<{ status: number; text: string }> {
    try {
      const response = await fetch(`${url}/api${path}`, {
        method,
        headers: { authorization: `Bearer ${key}`, ...(body !== undefined && { 'content-type': 'application/json' }) },
        ...(body !== undefined && { body: JSON.stringify(body) }),
        // A key goes to the gateway that was named, and nowhere else.
        redirect: 'error',
        signal: AbortSignal.timeout(timeoutMs),
      })
      const chunks: Uint8Array[] = []
      let size = 0
      for await (const chunk of response.body ?? []) {
        size += chunk.byteLength
        if (size > maxAnswerBytes) throw new CliError('The answer is too large.', [`More than ${maxAnswerBytes} bytes`])
        chunks.push(chunk)
      }
      return { status: response.status, text: Buffer.concat(chunks).toString() }
    } catch (error) {
      if (error instanceof CliError) throw error
      throw new CliError('The gateway cannot be reached.', [
        `Gateway: ${url}`,
        `Reason: ${reasonOf(error)}`,
        method === 'GET'
          ? 'Check PB_URL and that the gateway runs.'
          : 'Check PB_URL and that the gateway runs. Look whether it was done before you repeat it.',
      ])
    }
  }

  return {
    get: (path, schema) => call('GET', path, schema),
    post: (path, body, schema) => call('POST', path, schema, body),
  }
}

function refusal(status: number, value: unknown): CliError {
  const parsed = problemSchema.safeParse(value)
  if (!parsed.success) return new CliError(`The gateway answered ${status}.`, ['Check that PB_URL leads to a gateway.'])
  const { title, code, detail, hint } = parsed.data
  return new CliError(title, [`Code: ${code} (${status})`, ...[detail, hint].flatMap((line) => line ?? [])])
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const { cause } = error
  if (cause instanceof Error) return 'code' in cause ? String(cause.code) : cause.message
  return error.name === 'TimeoutError' ? `no answer in ${timeoutMs / 1_000} s` : error.message
}
