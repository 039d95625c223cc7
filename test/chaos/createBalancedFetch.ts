/**
 * A `fetch` that spreads requests over several servers of one origin, as a balancer in front of them would: in turns, and
 * on to the next one where none listens. Any other failure is the caller's.
 *
 * @param origins where requests go instead of the origin of their URL
 */
export function createBalancedFetch(origins: readonly string[]): typeof fetch {
  let turn = Math.floor(Math.random() * origins.length)
  return async (input, init) => {
    const asked = new URL(input instanceof Request ? input.url : input)
    let refused: unknown
    for (let tried = 0; tried < origins.length; tried++) {
      const url = new URL(asked.pathname + asked.search, origins[turn++ % origins.length])
      try {
        return await fetch(input instanceof Request ? new Request(url, input) : url, init)
      } catch (error) {
        if (!isRefused(error)) throw error
        refused = error
      }
    }
    throw refused
  }
}

/** Nothing was sent: nobody listens there. */
function isRefused(error: unknown): boolean {
  const { cause } = error as { cause?: { code?: string } }
  return cause?.code === 'ECONNREFUSED'
}
