import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'

const repositoryRoot = fileURLToPath(new URL('../..', import.meta.url))
const forgePath = fileURLToPath(new URL('../../node_modules/.bin/forge', import.meta.url))
/** Compiles everything when nothing is compiled yet. */
const timeoutMs = 600_000
const tests = 'contracts/test/integration/Erc7562.t.sol'
/** How many there are, so that one that no longer runs is missed. */
const testCount = 26

test(
  'validation of our operations keeps the rules of ERC-7562, and a validator that breaks one is caught',
  async () => {
    // With a path, `forge test` compiles what the path needs, which leaves out what tests deploy by name.
    await forge('build', 'contracts/src')
    const output = await forge('test', '--match-path', tests)
    const outcome = /(\d+) tests passed, (\d+) failed, (\d+) skipped/.exec(output)
    expect(outcome?.slice(1), output.slice(-5000)).toEqual([String(testCount), '0', '0'])
  },
  timeoutMs,
)

/** What it printed, also when it failed. */
function forge(...args: string[]): Promise<string> {
  const env = { ...process.env, FOUNDRY_PROFILE: 'trace' }
  return promisify(execFile)(forgePath, args, { cwd: repositoryRoot, env, maxBuffer: 2 ** 28 }).then(
    ({ stdout }) => stdout,
    ({ stdout, stderr }: { stdout?: string; stderr?: string }) => `${stdout}\n${stderr}`,
  )
}
