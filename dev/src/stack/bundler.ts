import { createRequire } from 'node:module'
import { join } from 'node:path'
import type { Address } from 'viem'
import { createTempDir } from '../processes/createTempDir.ts'
import { freePort } from '../processes/freePort.ts'
import { readyWhenHttpOk } from '../processes/ready.ts'
import { startProcess } from '../processes/startProcess.ts'
import { devAccounts } from './devAccounts.ts'

export type BundlerOptions = {
  rpcUrl: string
  /** Has code already. */
  entryPoint: Address
  /** More EntryPoints to serve, which have code already. */
  otherEntryPoints?: readonly Address[]
  /** Free by default. */
  port?: number
  /** Seconds between blocks of the chain; leave out when every transaction gets its own block. */
  blockTimeSeconds?: number
}

export type Bundler = {
  url: string
  stop(): Promise<void>
}

/** Starts Pimlico's bundler Alto as a program of its own (it is GPL-3 and never imported). */
export async function startBundler(options: BundlerOptions): Promise<Bundler> {
  const [directory, port] = await Promise.all([createTempDir('bundler'), options.port ?? freePort()])
  const { bundlerUtility, bundlerExecutor, bundlerExecutor2 } = devAccounts
  const flags: Record<string, string> = {
    entrypoints: [options.entryPoint, ...(options.otherEntryPoints ?? [])].join(','),
    'executor-private-keys': `${bundlerExecutor.privateKey},${bundlerExecutor2.privateKey}`,
    // Deploys the contracts that Alto simulates with.
    'utility-private-key': bundlerUtility.privateKey,
    'min-executor-balance': '0',
    'rpc-url': options.rpcUrl,
    port: `${port}`,
    // Alto polls the chain four times a block.
    'block-time': `${Math.round((options.blockTimeSeconds ?? 0.2) * 1_000)}`,
    'block-number-cache-ttl': '0',
    'min-bundle-interval': '50',
    'max-bundle-interval': '200',
    'mempool-max-parallel-ops': '64',
    'mempool-max-queued-ops': '16',
    'mempool-pop-batch-size': '50',
    // Several settlements of one account, on several lanes, fit in one bundle.
    'enforce-unique-senders-per-bundle': 'false',
    // Alto 0.0.20 cannot decode what EntryPoint v0.8 answers to its tracing validation.
    'safe-mode': 'false',
    'utility-wallet-monitor': 'false',
    json: 'true',
    'log-level': 'warn',
  }
  const server = await startProcess({
    name: 'Bundler (alto)',
    command: process.execPath,
    args: [altoPath(), ...Object.entries(flags).map(([name, value]) => `--${name}=${value}`)],
    cwd: directory.path,
    logFile: join(directory.path, 'bundler.log'),
    ready: readyWhenHttpOk(`http://127.0.0.1:${port}/health`),
    timeoutMs: 120_000,
  })
  return {
    url: `http://127.0.0.1:${port}`,
    async stop() {
      await server.stop()
      await directory.remove()
    },
  }
}

function altoPath(): string {
  return join(createRequire(import.meta.url).resolve('@pimlico/alto'), '..', 'cli', 'alto.js')
}
