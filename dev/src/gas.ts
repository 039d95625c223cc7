// Measures the gas of whole transactions anew and writes contracts/gas-snapshot.json: `npm run gas`.
import { compareGas, loadGasSnapshot, readGas, saveGasSnapshot } from './checks/gasSnapshot.ts'
import { runProgram } from './checks/runProgram.ts'

const tests = 'contracts/test/integration/Gas.t.sol'
// First: of what only `vm.deployCode` asks for, a run of some tests compiles no code.
const build = await runProgram('forge', ['build', 'contracts/src', tests])
if (build.exitCode !== 0) process.exit(build.exitCode)
const { exitCode, stdout } = await runProgram('forge', ['test', '--json', '--match-path', tests], { output: 'pipe' })
if (exitCode !== 0) {
  console.log(stdout)
  process.exit(exitCode)
}
const measured = readGas(stdout)
const changes = compareGas(await loadGasSnapshot(), measured)
await saveGasSnapshot(measured)
console.log(changes.length > 0 ? changes.join('\n') : 'No figure has changed.')
