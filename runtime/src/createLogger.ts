import { type DestinationStream, type Logger, pino } from 'pino'
import { currentTrace } from './tracing/traceScope.ts'

export type LoggerOptions = {
  /** Which service it is: `gateway`. */
  service: string
  level: string
  /** Values that no line may show, wherever they turn up: keys, addresses with keys in them. Undefined ones are skipped. */
  secrets?: readonly (string | undefined)[] | undefined
  /** Standard output by default. */
  destination?: DestinationStream | undefined
}

/** Below this a value is a word that lines need, not a secret. */
const minSecretLength = 8

/**
 * One JSON object a line: `level` (its name), `time` (ISO 8601), `service`, and within `runInTrace` the trace id and what
 * else the trace is about. Errors go under `err`. Configured secrets are replaced, also inside the messages of libraries.
 */
export function createLogger({ service, level, secrets = [], destination }: LoggerOptions): Logger {
  const hide = createHider(secrets)
  const options = {
    level,
    base: { service },
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
    mixin: () => currentTrace()?.fields ?? {},
    hooks: { streamWrite: hide },
  }
  return destination ? pino(options, destination) : pino(options)
}

function createHider(secrets: readonly (string | undefined)[]): (line: string) => string {
  const values = secrets.flatMap((secret) => (secret === undefined ? [] : [secret, ...passwordsOf(secret)]))
  const hidden = [...new Set(values)]
    .filter(({ length }) => length >= minSecretLength)
    // The longest first: one may be a part of another.
    .sort((left, right) => right.length - left.length)
    .map((secret) => JSON.stringify(secret).slice(1, -1))
  return (line) =>
    hidden.reduce((text, secret) => (text.includes(secret) ? text.replaceAll(secret, '[redacted]') : text), line)
}

/** A driver may take an address apart before it puts it into a message. */
function passwordsOf(secret: string): string[] {
  if (!URL.canParse(secret)) return []
  const { password } = new URL(secret)
  return password === '' ? [] : [password, decodeURIComponent(password)]
}
