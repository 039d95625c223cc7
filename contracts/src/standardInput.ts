import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, rm, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

/** Root of the repository, where forge runs. */
export const repositoryRoot = fileURLToPath(new URL('../../', import.meta.url))

/** A contract as forge finds it. */
export type ContractSource = {
  /** Name in Solidity. */
  contract: string
  /** Path from the repository's root. */
  source: string
  /** Of foundry.toml; what is deployed is compiled with `ir`. */
  profile: 'default' | 'ir'
}

/** What a Solidity compiler reads: https://docs.soliditylang.org/en/v0.8.30/using-the-compiler.html#input-description */
export type StandardInput = {
  language: string
  sources: Record<string, { content: string }>
  settings: Record<string, unknown>
}

const run = promisify(execFile)
const maxOutputBytes = 64 * 1024 * 1024
/** Verifiers answer when they have compiled, which forge waits for. */
const timeoutMs = 10 * 60_000

/**
 * The input that `forge verify-contract` sends to a verifier: the contract's source and what it imports, nothing else.
 * Creation code is compiled from this same input (script/generate.ts), because the optimizer's output can depend on what
 * is compiled together.
 *
 * @param compilerVersion as in `0.8.30+commit.73712a01`
 */
export async function standardInput(source: ContractSource, compilerVersion: string): Promise<StandardInput> {
  // Of a verification that is only printed, forge reads neither address nor chain.
  const nowhere = ['--chain', '1', '0x0000000000000000000000000000000000000000']
  const { stdout } = await forgeVerify(source, compilerVersion, ['--show-standard-json-input', ...nowhere])
  return JSON.parse(stdout)
}

/**
 * Runs `forge verify-contract` for `source`, with `args` before the contract's name.
 *
 * Forge looks for the compiler among those it has installed and downloads it otherwise, so it gets a home directory of
 * its own in which npm's compiler is installed.
 *
 * @returns what forge printed. It says so only there when a verifier refuses: that is no failure of forge
 * @throws what execFile throws; forge's words are in the error's `stderr`
 */
export async function forgeVerify(
  { contract, source, profile }: ContractSource,
  compilerVersion: string,
  args: string[],
  env: NodeJS.ProcessEnv = {},
): Promise<{ stdout: string; stderr: string }> {
  const home = await mkdtemp(join(tmpdir(), 'stream-verify-'))
  try {
    const [release = ''] = compilerVersion.split('+')
    const installed = join(home, '.svm', release)
    await mkdir(installed, { recursive: true })
    await symlink(join(repositoryRoot, 'contracts/script/solc.cjs'), join(installed, `solc-${release}`))
    const compiler = ['--compiler-version', compilerVersion, '--compilation-profile', profile]
    return await run(
      join(repositoryRoot, 'node_modules/.bin/forge'),
      ['verify-contract', ...compiler, ...args, `${source}:${contract}`],
      {
        cwd: repositoryRoot,
        env: { PATH: dirname(process.execPath), ...env, HOME: home, FOUNDRY_OUT: home, FOUNDRY_CACHE_PATH: home },
        maxBuffer: maxOutputBytes,
        timeout: timeoutMs,
      },
    )
  } finally {
    await rm(home, { recursive: true, force: true })
  }
}
