import type { Counted, FileCoverage } from './parseLcov.ts'

/** Least shares, in percent, over all files together. */
export type CoverageBounds = { lines: number; branches: number }

/** The table to print, what never ran, and what is below the bounds; `failures` empty is a pass. */
export type CoverageReport = { table: string[]; missed: string[]; failures: string[] }

/**
 * Judges the coverage of `expected`, the sources that must be in the report: one that no test even deploys is missing
 * from it, and would otherwise not count.
 */
export function judgeCoverage(
  files: readonly FileCoverage[],
  expected: readonly string[],
  bounds: CoverageBounds,
): CoverageReport {
  const counted = files.filter(({ source }) => expected.includes(source))
  const rows = counted.map((file) => [file.source, share(file.lines), share(file.branches)])
  const total = { lines: sum(counted.map(({ lines }) => lines)), branches: sum(counted.map((file) => file.branches)) }
  rows.push(['all', share(total.lines), share(total.branches)])
  const width = Math.max(...rows.map(([name = '']) => name.length))
  const table = rows.map(([name = '', lines = '', branches = '']) =>
    `${name.padEnd(width)}  lines ${lines.padStart(16)}  branches ${branches.padStart(16)}`.trimEnd(),
  )

  const missed = counted.flatMap(({ source, lines, branches }) => [
    ...lines.missed.map((line) => `${source}:${line} line never ran`),
    ...branches.missed.map((line) => `${source}:${line} branch never taken`),
  ])
  const failures = expected
    .filter((source) => !counted.some((file) => file.source === source))
    .map((source) => `${source} is not in the report: no test deploys it.`)
  for (const kind of ['lines', 'branches'] as const) {
    const percent = percentOf(total[kind])
    if (percent < bounds[kind]) failures.push(`${percent.toFixed(2)} % of ${kind} ran, ${bounds[kind]} % have to.`)
  }
  return { table, missed, failures }
}

function sum(all: readonly Counted[]): Counted {
  return { total: all.reduce((total, one) => total + one.total, 0), missed: all.flatMap(({ missed }) => missed) }
}

function percentOf({ total, missed }: Counted): number {
  return total === 0 ? 100 : (100 * (total - missed.length)) / total
}

function share(counted: Counted): string {
  return `${percentOf(counted).toFixed(2)} % (${counted.total - counted.missed.length}/${counted.total})`
}
