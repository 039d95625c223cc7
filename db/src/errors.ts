/** SQLSTATE of a Postgres error, or Node's code of a network error, wherever in the chain of causes it is. */
export function errorCodeOf(error: unknown): string | undefined {
  let current = error
  // Bounded: a chain of causes is two or three long.
  for (let depth = 0; depth < 8 && current instanceof Error; depth++) {
    const { code } = current as { code?: unknown }
    if (typeof code === 'string' && code.length > 0 && !code.includes('.')) return code
    current = current.cause
  }
  return undefined
}

/** Whether a unique constraint of this name (any, without a name) refused a row. */
export function isUniqueViolation(error: unknown, constraint?: string): boolean {
  if (errorCodeOf(error) !== '23505') return false
  return constraint === undefined || constraintOf(error) === constraint
}

/**
 * Whether Postgres could not be asked: unreachable, shutting down, out of connections, or too slow. The same call may
 * succeed later; services answer 503 meanwhile.
 */
export function isDatabaseUnavailable(error: unknown): boolean {
  const code = errorCodeOf(error)
  if (code !== undefined) return networkCodes.has(code) || /^(08|57P|53)/.test(code) || code === '57014'
  return rootOf(error).some((message) => driverMessages.some((known) => message.includes(known)))
}

// Node's own, and what a socket says when it ends.
const networkCodes = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'EPIPE',
  'ETIMEDOUT',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
])

// node-postgres gives these errors no code.
const driverMessages = [
  'timeout exceeded when trying to connect',
  'Connection terminated',
  'Query read timeout',
  'Client has encountered a connection error',
]

function constraintOf(error: unknown): string | undefined {
  let current = error
  for (let depth = 0; depth < 8 && current instanceof Error; depth++) {
    const { constraint } = current as { constraint?: unknown }
    if (typeof constraint === 'string') return constraint
    current = current.cause
  }
  return undefined
}

function rootOf(error: unknown): string[] {
  const messages: string[] = []
  let current = error
  for (let depth = 0; depth < 8 && current instanceof Error; depth++) {
    messages.push(current.message)
    current = current.cause
  }
  return messages
}
