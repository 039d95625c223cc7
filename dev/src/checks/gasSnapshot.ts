import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parseObject } from './parseObject.ts'
import { repositoryRoot } from './runProgram.ts'

/** Gas of whole transactions by token and transaction: what contracts/test/integration/Gas.t.sol measures. */
export type GasSnapshot = Record<string, Record<string, number>>

const path = join(repositoryRoot, 'contracts/gas-snapshot.json')

/** Reads the figures out of what `forge test --json` printed. @throws when there are none */
export function readGas(output: string): GasSnapshot {
  const suites = parseObject(output, 'forge test --json') as Record<string, ForgeSuite>
  const results = Object.values(suites).flatMap(({ test_results = {} }) => Object.values(test_results))
  const figures = results
    .flatMap(({ gas_snapshots = {} }) => Object.entries(gas_snapshots))
    .flatMap(([token, byName]) => Object.entries(byName).map(([name, gas]) => ({ token, name, gas: Number(gas) })))
    .sort((a, b) => compareText(a.token, b.token) || compareText(a.name, b.name))
  if (figures.length === 0) throw new Error('No test measured gas: is contracts/test/integration/Gas.t.sol among them?')
  const snapshot: GasSnapshot = {}
  for (const { token, name, gas } of figures) {
    if (!Number.isSafeInteger(gas)) throw new Error(`The gas of ${token} ${name} is no whole number: ${gas}`)
    const ofToken = snapshot[token] ?? {}
    snapshot[token] = ofToken
    ofToken[name] = gas
  }
  return snapshot
}

type ForgeSuite = { test_results?: Record<string, { gas_snapshots?: Record<string, Record<string, string>> }> }

/** One line for each figure that is not in both or differs, in either direction; none when the two are equal. */
export function compareGas(committed: GasSnapshot, measured: GasSnapshot): string[] {
  const tokens = new Set([...Object.keys(committed), ...Object.keys(measured)])
  return [...tokens].flatMap((token) => {
    const [before = {}, now = {}] = [committed[token], measured[token]]
    const names = new Set([...Object.keys(before), ...Object.keys(now)])
    return [...names].flatMap((name) => {
      const [old, figure] = [before[name], now[name]]
      if (old === figure) return []
      if (old === undefined) return [`${token}, ${name}: ${figure} gas, new`]
      if (figure === undefined) return [`${token}, ${name}: ${old} gas, not measured any more`]
      return [`${token}, ${name}: ${old} → ${figure} gas, ${figure > old ? '+' : ''}${figure - old}`]
    })
  })
}

/** The committed figures. */
export async function loadGasSnapshot(): Promise<GasSnapshot> {
  return JSON.parse(await readFile(path, 'utf8')) as GasSnapshot
}

export async function saveGasSnapshot(snapshot: GasSnapshot): Promise<void> {
  await writeFile(path, `${JSON.stringify(snapshot, null, 2)}\n`)
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
