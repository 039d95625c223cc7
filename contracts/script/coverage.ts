// Fails when the Solidity tests leave too much of contracts/src untried, and says what: `npm run coverage`.
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { judgeCoverage } from './lcov/judgeCoverage.ts'
import { listAssemblyLines } from './lcov/listAssemblyLines.ts'
import { parseLcov } from './lcov/parseLcov.ts'
import { programsPath } from './programs.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))
const bounds = { lines: 98, branches: 95 }

/**
 * Compiles into a directory of its own: instrumented code must not reach the others. `--ir-minimum`, because without the
 * IR pipeline the contracts run out of stack; it moves a line or two to another, hence 98 and not 100 % of the lines.
 */
function runForgeCoverage(): string {
  const directory = mkdtempSync(join(tmpdir(), 'stream-coverage-'))
  const report = join(directory, 'lcov.info')
  try {
    execFileSync(
      'forge',
      [
        ...['coverage', '--ir-minimum', '--exclude-tests', '--report', 'lcov', '--report-file', report],
        ...['--out', join(directory, 'out'), '--cache-path', join(directory, 'cache')],
      ],
      {
        cwd: root,
        env: { ...process.env, PATH: programsPath, FOUNDRY_PROFILE: 'coverage' },
        stdio: ['ignore', 'pipe', 'inherit'],
      },
    )
    return readFileSync(report, 'utf8')
  } catch (error) {
    // Of tests that failed, forge tells on its standard output.
    const output = error instanceof Error && 'stdout' in error ? String(error.stdout) : ''
    throw new Error(`forge coverage did not run to its end.\n${output}`)
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

/** Every source but the interfaces, which have no code. */
function listSources(): string[] {
  return readdirSync(join(root, 'contracts/src'), { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.sol') && !path.startsWith('interfaces/'))
    .map((path) => `contracts/src/${path}`)
    .sort()
}

const files = parseLcov(runForgeCoverage(), (source) => listAssemblyLines(readFileSync(join(root, source), 'utf8')))
const { table, missed, failures } = judgeCoverage(files, listSources(), bounds)
for (const line of [...table, ...missed, ...failures]) console.log(line)
if (failures.length > 0) {
  console.log('Write tests for what is named above, in contracts/test/unit.')
  process.exitCode = 1
}
