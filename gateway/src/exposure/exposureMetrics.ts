import { Counter, Gauge, type Registry } from 'prom-client'

/** Merchants that are shown at most: those with a limit are few, and Prometheus keeps each for long. */
const maxShown = 500

/** What merchants with a limit over all accounts are owed on credit, and how their budgets are moved. */
export function createExposureMetrics(registry: Registry) {
  const exposure = new Gauge({
    name: 'gateway_exposure_atomic',
    help: 'What all accounts owe a merchant on credit, base units; merchants with a limit over all accounts.',
    labelNames: ['merchant'],
    registers: [registry],
  })
  const limit = new Gauge({
    name: 'gateway_exposure_limit_atomic',
    help: 'What all accounts may owe the merchant on credit, base units.',
    labelNames: ['merchant'],
    registers: [registry],
  })
  const rounds = new Counter({
    name: 'gateway_exposure_rounds_total',
    help: 'Rounds that moved budgets between partitions: balanced, superseded (somebody else was faster) or failed.',
    labelNames: ['outcome'],
    registers: [registry],
  })
  const shown = new Set<string>()
  return {
    rounds,
    show(merchant: string, used: bigint, maxTotal: bigint | undefined) {
      if (maxTotal === undefined || (shown.size >= maxShown && !shown.has(merchant))) return
      shown.add(merchant)
      exposure.set({ merchant }, Number(used))
      limit.set({ merchant }, Number(maxTotal))
    },
    /** Shows no more whoever has no limit any more. */
    forget(limited: ReadonlySet<string>) {
      for (const merchant of shown) {
        if (limited.has(merchant)) continue
        shown.delete(merchant)
        exposure.remove({ merchant })
        limit.remove({ merchant })
      }
    },
  }
}
