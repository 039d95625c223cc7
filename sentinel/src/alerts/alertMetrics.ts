import { Counter, Gauge, type Registry } from 'prom-client'

export type AlertMetrics = ReturnType<typeof createAlertMetrics>

/** What is sent, and what waits. The gauges are of what is in Postgres: every sentinel says the same. */
export function createAlertMetrics(registry: Registry) {
  return {
    sent: new Counter({
      name: 'sentinel_alerts_total',
      help: 'Tries to send an alert: sent, retry or failed.',
      labelNames: ['channel', 'outcome'],
      registers: [registry],
    }),
    disabled: new Counter({
      name: 'sentinel_alert_channels_disabled_total',
      help: 'Channels that take nothing any more.',
      labelNames: ['channel'],
      registers: [registry],
    }),
    waiting: new Gauge({
      name: 'sentinel_alerts_waiting',
      help: 'Alerts that are to be sent, or sent again.',
      registers: [registry],
    }),
    oldest: new Gauge({
      name: 'sentinel_alerts_oldest_seconds',
      help: 'Age of the oldest of them.',
      registers: [registry],
    }),
  }
}
