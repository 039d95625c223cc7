import { writeFile } from 'node:fs/promises'
import { parseArgs } from 'node:util'
import { attackKinds } from '../simulation/attacks.ts'
import { heldOutSeeds, tuningSeeds } from '../simulation/seeds.ts'
import { grantLimits } from './grantLimits.ts'
import { type GrantMetrics, measureGrants, type Quantiles } from './grantMetrics.ts'
import { breakDownSeries, measureSeries, type SeriesReport } from './measureSeries.ts'
import { heldOutKinds } from './series/heldOutKinds.ts'
import type { Rates } from './series/pointMetrics.ts'
import { tuningKinds } from './series/tuningKinds.ts'
import { measureThroughput } from './throughput.ts'
import { chosenMethods, createComparedMethods } from './watchedMethods.ts'

// npm run evaluate -w sentinel [-- --only chosen,compared,series,throughput] [--json FILE]: the tables of docs/sentinel.md.
// About four minutes on one core.

const parts = ['chosen', 'compared', 'series', 'throughput']
const { values } = parseArgs({ options: { json: { type: 'string' }, only: { type: 'string' } } })
const wanted = values.only?.split(',') ?? parts
const unknown = wanted.filter((part) => !parts.includes(part))
if (unknown.length > 0) {
  console.error(`there is no part ${unknown.join(', ')}: the parts are ${parts.join(', ')}`)
  process.exit(2)
}
const seeds = { trafficSeed: heldOutSeeds.traffic, attackSeed: heldOutSeeds.attacks }
const report: Record<string, unknown> = { heldOutSeeds, tuningSeeds }

if (wanted.includes('chosen')) {
  const chosen = measureGrants(chosenMethods, { ...seeds, grantsPerKind: 200, attacksPerPair: 20 })
  printGrants('What the sentinel runs, on held-out seeds', chosen)
  printAttacks(chosen)
  report.chosen = chosen
}

if (wanted.includes('compared') && Object.keys(grantLimits).length === 0) {
  console.log(
    '\nMethods are not compared: their limits are not measured. Run sentinel/src/evaluation/calibrate.ts compared.',
  )
} else if (wanted.includes('compared')) {
  const compared = measureGrants(createComparedMethods(), { ...seeds, grantsPerKind: 50, attacksPerPair: 5 })
  printGrants('Every method alone, limits of a smaller sample, on held-out seeds', compared)
  report.compared = compared
}

if (wanted.includes('series')) {
  const heldOutSeries = measureSeries(heldOutKinds, heldOutSeeds.series, 20)
  printSeries('Series of kinds and seeds that were held out', heldOutSeries)
  const breakdown = breakDownSeries(heldOutKinds, heldOutSeeds.series, 20)
  console.table(breakdown.byAnomaly)
  console.table(breakdown.byKind)
  const tuningSeries = measureSeries(tuningKinds, heldOutSeeds.series + 100_000, 6)
  printSeries('Series of kinds that were tuned on, other seeds', tuningSeries)
  Object.assign(report, { heldOutSeries, breakdown, tuningSeries })
}

if (wanted.includes('throughput')) {
  const throughput = measureThroughput(1_000, 400)
  console.log('\nRules and scoring, one process')
  console.table([throughput])
  report.throughput = throughput
}

if (values.json) await writeFile(values.json, `${JSON.stringify(report, null, 2)}\n`)

function printGrants(title: string, metrics: readonly GrantMetrics[]): void {
  const [first] = metrics
  console.log(`\n${title}: ${first?.normalGrants} normal grants of two weeks, ${first?.attacks} attacks`)
  console.table(
    Object.fromEntries(
      metrics.map((one) => [
        one.method,
        {
          precision: percent(one.precision),
          recall: percent(one.recall),
          'false freezes': percent(one.falseFreezeShare),
          'detected after (median)': seconds(one.detectSeconds, 'median'),
          '(p95)': seconds(one.detectSeconds, 'p95'),
          'charges lost (median)': one.lostCharges.median,
          'share of money lost': percent(one.lostShare),
          'us an event': Number(one.microsecondsPerEvent.toFixed(1)),
        },
      ]),
    ),
  )
}

function printAttacks(metrics: readonly GrantMetrics[]): void {
  for (const { method, byAttack, falseFreezes } of metrics) {
    console.log(`\n${method}; false freezes by traffic: ${JSON.stringify(falseFreezes)}`)
    console.table(
      Object.fromEntries(
        attackKinds.map((attack) => {
          const { caught, attacks, detectSeconds, lostShare } = byAttack[attack]
          const row = {
            caught: `${caught} of ${attacks}`,
            'detected after (median)': seconds(detectSeconds, 'median'),
            '(p95)': seconds(detectSeconds, 'p95'),
            'share of money lost': percent(lostShare),
          }
          return [attack, row]
        }),
      ),
    )
  }
}

function printSeries(title: string, reports: readonly SeriesReport[]): void {
  const [first] = reports
  console.log(`\n${title}: ${first?.series} series, ${first?.anomalies} anomalies. Precision / recall / F1:`)
  console.table(
    Object.fromEntries(
      reports.map((one) => [
        one.method,
        {
          'points, strict': rates(one.strict),
          'points, adjusted': rates(one.adjusted),
          ranges: rates(one.ranges),
          AUC: one.auc.toFixed(3),
          'average precision': one.averagePrecision.toFixed(3),
          'false alarms per 1000': one.falseAlarmsPer1000Points.toFixed(2),
          'NAB score': one.nab.toFixed(1),
          'us a point': Number(one.microsecondsPerPoint.toFixed(1)),
        },
      ]),
    ),
  )
}

function rates({ precision, recall, f1 }: Rates): string {
  return [precision, recall, f1].map((one) => one.toFixed(2)).join(' / ')
}

function percent(share: number): string {
  return `${(share * 100).toFixed(1)} %`
}

function seconds(quantiles: Quantiles, which: keyof Quantiles): string {
  const value = quantiles[which]
  if (value === null) return 'never'
  return value < 120 ? `${value.toFixed(1)} s` : `${(value / 60).toFixed(0)} min`
}
