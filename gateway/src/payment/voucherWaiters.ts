/** Wakes who waits for the next voucher of a channel, when it comes to this process. */
export type VoucherWaiters = {
  /** A voucher of this channel was taken. */
  wake(channel: string): void
  /** Until the next one, at most `ms`: it may have come to another process. */
  wait(channel: string, ms: number): Promise<void>
}

export function createVoucherWaiters(): VoucherWaiters {
  const waiting = new Map<string, Set<() => void>>()
  return {
    wake(channel) {
      for (const go of waiting.get(channel) ?? []) go()
    },
    wait(channel, ms) {
      return new Promise((resolve) => {
        const others = waiting.get(channel) ?? new Set()
        const timer = setTimeout(go, ms)
        function go() {
          clearTimeout(timer)
          others.delete(go)
          if (others.size === 0 && waiting.get(channel) === others) waiting.delete(channel)
          resolve()
        }
        waiting.set(channel, others.add(go))
      })
    },
  }
}
