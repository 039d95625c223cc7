// What `npm test` runs: every check there is, cheap ones first.
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { countForgeTests, countVitestTests } from './checks/counts.ts'
import { ensureChromium } from './checks/ensureChromium.ts'
import { ensureRedis } from './checks/ensureRedis.ts'
import { compareGas, loadGasSnapshot, readGas } from './checks/gasSnapshot.ts'
import { lintContracts } from './checks/lintContracts.ts'
import { runProgram } from './checks/runProgram.ts'
import { runSteps, type Step, type StepResult } from './checks/runSteps.ts'
import { createTempDir } from './processes/createTempDir.ts'
import { compileServices } from './stack/compileServices.ts'
import { compiledServicesVariable } from './stack/service.ts'

const print = (line: string) => console.log(line)

const steps: Step[] = [
  { title: 'Redis for the tests', run: () => ensureRedis(print) },
  { title: 'Chromium for the tests', run: () => ensureChromium(print) },
  { title: 'Lint and format of TypeScript (biome)', run: () => runProgram('biome', ['check', '.']) },
  { title: 'Import arrows (dependency-cruiser)', run: () => runProgram('npm', ['run', '--silent', 'lint:arrows']) },
  { title: 'Format of Solidity (forge fmt)', run: () => runProgram('forge', ['fmt', '--check']) },
  { title: 'ABIs and bytecode match the contracts', run: () => runProgram('npm', ['run', '--silent', 'abi:check']) },
  { title: 'Types (tsc)', run: () => runProgram('tsc', ['-b']) },
  { title: 'Lint of Solidity (forge lint)', run: () => lintContracts(print) },
  { title: 'Contracts and their gas (forge test)', run: runForgeTests },
  { title: 'Packages (vitest)', run: runVitest },
]

process.exitCode = await runSteps(steps, print)

async function runForgeTests(): Promise<StepResult> {
  const { exitCode, stdout } = await runProgram('forge', ['test', '--json'], { output: 'pipe' })
  const { failures, ...counts } = countForgeTests(stdout)
  for (const failure of failures) print(`✗ ${failure}`)
  print(`${counts.passed} passed, ${counts.failed} failed in Solidity`)
  if (exitCode !== 0 || failures.length > 0) return { exitCode: exitCode || 1, counts }

  const changes = compareGas(await loadGasSnapshot(), readGas(stdout))
  for (const change of changes) print(`✗ ${change}`)
  if (changes.length > 0) print('If this gas is wanted, run `npm run gas` and commit contracts/gas-snapshot.json.')
  return { exitCode: changes.length > 0 ? 1 : 0, counts }
}

async function runVitest(): Promise<StepResult> {
  const directory = await createTempDir('vitest')
  const report = join(directory.path, 'report.json')
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${report}`]
  // Services are started some two hundred times.
  const compiled = join(directory.path, 'services')
  await compileServices(compiled)
  const env = { [compiledServicesVariable]: compiled }
  const { exitCode } = await runProgram('vitest', ['run', ...reporters], { env })
  const counts = countVitestTests(await readFile(report, 'utf8'))
  await directory.remove()
  if (exitCode === 0 && counts.failed > 0) print(`${counts.failed} tests were skipped, which counts as failed.`)
  return { exitCode: exitCode || (counts.failed > 0 ? 1 : 0), counts }
}
