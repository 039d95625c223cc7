import type { z } from 'zod'
import { type Env, readSecretFiles } from './readSecretFiles.ts'

export type { Env }

export type ParseConfigOptions<Name extends string> = {
  /** Whose environment it is, as a message begins: `The gateway`. */
  whose: string
  /** Names of values that logs must not show. Addresses of services carry keys. */
  secrets: readonly Name[]
}

export type ParsedConfig<T> = Readonly<T> & {
  /** The values of what was named a secret, for the logger. Not among the keys. */
  readonly secretValues: readonly string[]
}

/**
 * One service's environment, frozen. As JSON it shows no secret. A secret may come out of a file, see readSecretFiles.
 *
 * @throws when the environment is not valid; the message names every problem at once and no value
 */
export function parseConfig<Schema extends z.ZodType<object>>(
  schema: Schema,
  given: Env,
  { whose, secrets }: ParseConfigOptions<KeysOfUnion<z.output<Schema>> & string>,
): ParsedConfig<z.output<Schema>> {
  const { env, problems: fileProblems } = readSecretFiles(given, secrets)
  const parsed = schema.safeParse(env)
  const issues = parsed.error?.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`) ?? []
  const problems = [...fileProblems, ...issues].map((problem) => `  ${problem}`)
  if (env.CRASH_AT !== undefined && env.NODE_ENV === 'production') {
    problems.push('  CRASH_AT: kills the process on purpose; unset it where NODE_ENV is production')
  }
  if (!parsed.success || problems.length > 0) {
    throw new Error(`${whose}'s environment is not valid:\n${problems.join('\n')}`)
  }
  const hidden = new Set<string>(secrets)
  const toJSON = () => Object.fromEntries(Object.entries(parsed.data).map((entry) => redact(entry, hidden)))
  const values = secrets.flatMap((name) => env[name] ?? [])
  const secretValues = Object.freeze(values.flatMap((value) => [value, ...value.split(',')]))
  const config = Object.defineProperties(parsed.data, {
    toJSON: { value: toJSON },
    secretValues: { value: secretValues },
  })
  return Object.freeze(config as z.output<Schema> & { secretValues: readonly string[] })
}

/** Of every member of a union, not only of what all have in common. */
type KeysOfUnion<T> = T extends unknown ? keyof T : never

function redact([name, value]: [string, unknown], hidden: ReadonlySet<string>): [string, unknown] {
  if (value !== undefined && hidden.has(name)) return [name, '[redacted]']
  return [name, typeof value === 'bigint' ? value.toString() : value]
}
