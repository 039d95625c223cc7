import type { Figures } from '@protocolbanks/stream-db'
import type { Cached } from '@protocolbanks/stream-runtime'
import { Gauge, type Registry } from 'prom-client'

/**
 * What the whole deployment owes and waits for, out of Postgres: told by settlement alone, by every worker alike, so take
 * the maximum over them. Read at most every few seconds, however often it is scraped.
 */
export function registerFigures(
  registry: Registry,
  { figures, clock }: { figures: Cached<Figures>; clock(): number },
): void {
  const registers = [registry]
  const gauge = (
    name: string,
    help: string,
    show: (gauge: Gauge<string>, figures: Figures) => void,
    ...labelNames: string[]
  ) =>
    new Gauge({
      name,
      help,
      labelNames,
      registers,
      async collect() {
        const now = await figures.get()
        this.reset()
        if (now) show(this, now)
      },
    })

  gauge(
    'stream_outstanding_atomic',
    'What was charged and is not settled, by what pays it: allowance (credit) or reserve. Base units.',
    (metric, { outstanding }) => {
      for (const [source, amount] of Object.entries(outstanding)) metric.set({ source }, Number(amount))
    },
    'source',
  )
  gauge(
    'stream_oldest_claim_seconds',
    'Age of the oldest charge that is not settled; 0 when nothing is owed.',
    (metric, { oldestClaimAt }) =>
      metric.set(oldestClaimAt === null ? 0 : Math.max(0, (clock() - oldestClaimAt.getTime()) / 1_000)),
  )
  gauge(
    'stream_settlements',
    'Settlements that are not over, by state. Dead ones that were written off are over.',
    (metric, { settlements }) => {
      for (const { state, count } of settlements) metric.set({ state }, count)
    },
    'state',
  )
  gauge(
    'stream_settlement_failures',
    'Settlements that failed or are dead, by the reason of the newest failure.',
    (metric, { failures }) => {
      for (const { state, reason, count } of failures) metric.set({ state, reason }, count)
    },
    'state',
    'reason',
  )
  gauge('stream_dead_letters', 'Settlements that wait for an operator.', (metric, { settlements }) =>
    metric.set(settlements.find(({ state }) => state === 'dead')?.count ?? 0),
  )
  gauge('stream_webhooks_waiting', 'Deliveries of webhooks that are to be tried, or tried again.', (metric, now) =>
    metric.set(now.webhooksWaiting),
  )
  gauge(
    'stream_quarantined_usage_events',
    'Usage events that the journal did not take; 10,000 at most.',
    (metric, now) => metric.set(now.quarantinedEvents),
  )
  gauge('stream_blocked_payees', 'Payees whom the token does not pay.', (metric, now) => metric.set(now.blockedPayees))
  new Gauge({
    name: 'stream_figures_age_seconds',
    help: 'How old the figures out of Postgres are: while it grows, all other stream_ metrics stand still.',
    registers,
    async collect() {
      await figures.get()
      this.set(figures.ageMs() / 1_000)
    },
  })
}
