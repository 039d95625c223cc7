import { once } from 'node:events'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { createDb, type Db, listIncidents } from '@protocolbanks/stream-db'
import {
  compiledServicesVariable,
  compileServices,
  createTempDir,
  openMerchant,
  type Stack,
  startStack,
} from '@protocolbanks/stream-dev'
import type { Hex } from '@protocolbanks/stream-protocol'
import { sessionKeyValidatorAbi } from '@protocolbanks/stream-protocol/abi/sessionKeyValidatorAbi'
import { machine } from '../machine.ts'
import { type Caller, createCaller } from './createCaller.ts'
import type { LoadData, LoadReport } from './loadThread.ts'
import { type OpenGrant, openGrants } from './openGrants.ts'

// Many grants are used at a steady rate; one after the other some of them run away. How long from the charge that breaks the
// rule to the first call that is refused, and until the chain has the freeze. Everything as processes of its own.

export type SentinelBenchOptions = {
  grants: number
  /** Calls a second of all grants together. */
  rate: number
  /** How many run away. */
  offenders: number
  blockSeconds: number
}

/** Milliseconds. */
export type Spread = { p50: number; p90: number; p99: number; max: number }

const grantsPerAccount = 25
const connections = 64
/** Calls of a grant that runs away, at once. */
const offenderInFlight = 4
/** Of a grant that runs away: nobody stops it then. */
const mostCalls = 2_000
/** Of a grant that does not run away: from 100 on a rule stops it. */
const mostPerMinute = 80
const frozenTimeoutMs = 60_000
/** Node compiles what runs often while it runs. */
const warmUpMs = 30_000
/** Its multiples spread over a block without a pattern. */
const goldenRatio = 0.618

export async function benchSentinel(options: SentinelBenchOptions): Promise<object> {
  const { grants: count, rate, offenders } = options
  const perMinute = (rate * 60) / (count - offenders)
  if (!(perMinute > 0 && perMinute <= mostPerMinute))
    throw new Error(`Each other grant would make ${perMinute.toFixed(0)} calls a minute; at most ${mostPerMinute}.`)
  const stops: (() => unknown)[] = []
  try {
    const directory = await createTempDir('bench')
    stops.push(directory.remove)
    return await measure(options, directory.path, stops)
  } finally {
    for (const stop of stops.reverse()) await stop()
  }
}

/** @param stops told how to stop what it starts */
async function measure(
  { grants: count, rate, offenders, blockSeconds }: SentinelBenchOptions,
  directory: string,
  stops: (() => unknown)[],
): Promise<object> {
  // As an image has them: services that go through a loader of TypeScript take an eighth more of the cores.
  const compiled = join(directory, 'compiled')
  await compileServices(compiled, ['bench/src'])
  process.env[compiledServicesVariable] = compiled
  const stack = await startStack({
    withSentinel: true,
    logLevel: 'warn',
    log: (line) => console.log(line),
    env: {
      // As services are deployed; for local development they look more often.
      gateway: { INDEXER_POLL_MS: '1000' },
      settlement: { POLL_MS: '1000' },
      // A thousand operations in full blocks raise the fees of a development chain without bound.
      sentinel: { POLL_MS: '1000', WARM_UP_SECONDS: '0', MAX_FEE_PER_GAS_WEI: `${10n ** 18n}` },
      paymaster: {
        POLL_MS: '1000',
        OPERATOR_GAS_BUDGET_WEI_PER_DAY: `${10n ** 24n}`,
        MAX_FEE_PER_GAS_WEI: `${10n ** 18n}`,
      },
    },
  })
  stops.push(stack.stop)
  const db = createDb({ url: stack.databaseUrl, onError: (error) => console.error(error.message) })
  stops.push(db.close)
  if (!stack.redis) throw new Error('Without redis-server each gateway has a meter of its own.')
  const merchant = await openMerchant(stack)
  stops.push(merchant.stop)
  const accounts = Math.ceil(count / grantsPerAccount)
  const grants = await openGrants(stack, { accounts, perAccount: grantsPerAccount, payee: merchant.payee })
  console.log(`${grants.length} grants of ${accounts} accounts are on the chain`)
  await makeBlocksEvery(stack, blockSeconds)
  const calls = {
    ...{ url: `${merchant.serviceUrl}/oslo`, payee: merchant.payee },
    ...{ chainId: stack.chain.chainId, module: stack.contracts.sessionKeyValidator },
  }
  // Whoever runs away has connections of their own.
  const offender = await createCaller({ ...calls, connections: offenderInFlight })
  stops.push(offender.close)
  const [bad, good] = [grants.slice(0, offenders), grants.slice(offenders)]
  const load = await startLoad(join(compiled, 'bench', 'src', 'sentinel', 'loadThread.js'), {
    ...{ caller: { ...calls, connections }, grants: good, rate },
  })
  stops.push(load.stop)
  await delay(warmUpMs)
  const recorded: number[] = []
  const refused: number[] = []
  const frozen: number[] = []
  for (const [index, grant] of bad.entries()) {
    // The one before was frozen with a block, when every service looks at the chain; thieves do not wait for blocks.
    await delay(((index * goldenRatio) % 1) * blockSeconds * 1_000)
    const { recordedMs, refusedMs, frozenMs } = await runAway(stack, db, offender, grant)
    recorded.push(recordedMs)
    refused.push(refusedMs)
    frozen.push(frozenMs)
  }
  const { perSecond, refusals } = await load.end()
  const report = {
    machine: machine(),
    grants: grants.length,
    offenders,
    callsPerSecond: perSecond,
    blockSeconds,
    /** Of the others, or without an answer: none may be. */
    refusedOthers: refusals,
    /** The sentinel's record, which it begins to write right after it has asked for the refusal. */
    toRecordMs: spreadOf(recorded),
    toFirstRefusalMs: spreadOf(refused),
    toChainMs: spreadOf(frozen),
  }
  console.log(`\n${report.machine}\n${perSecond} calls a second of the others, ${refusals} of them refused\n`)
  console.table({
    'to the record, ms': report.toRecordMs,
    'to the first refusal, ms': report.toFirstRefusalMs,
    'to the chain, ms': report.toChainMs,
  })
  return report
}

/** From here on blocks come by the clock, as on a real chain. */
async function makeBlocksEvery({ clients: { walletClient } }: Stack, seconds: number): Promise<void> {
  const ask = walletClient.request as (call: { method: string; params: unknown[] }) => Promise<unknown>
  await ask({ method: 'evm_setAutomine', params: [false] })
  await ask({ method: 'evm_setIntervalMining', params: [seconds] })
}

/**
 * Starts loadThread.ts in a thread of its own, where neither its work nor its garbage holds up the clock of those who run away.
 *
 * @param program compiled
 */
async function startLoad(program: string, data: LoadData) {
  const worker = new Worker(program, { workerData: data, execArgv: [] })
  const ended = once(worker, 'message') as Promise<[LoadReport]>
  ended.catch(() => {})
  await once(worker, 'online')
  return {
    async end(): Promise<LoadReport> {
      worker.postMessage('end')
      const [report] = await ended
      return report
    },
    stop: async () => void (await worker.terminate()),
  }
}

/** One grant calls as fast as it can until it is refused. */
async function runAway(stack: Stack, db: Db, caller: Caller, grant: OpenGrant) {
  let refusedAt: number | undefined
  let calls = 0
  const call = async () => {
    while (refusedAt === undefined && calls++ < mostCalls) {
      const status = await caller.call(grant)
      if (status !== 200) refusedAt ??= Date.now()
    }
  }
  await Promise.all(Array.from({ length: offenderInFlight }, call))
  if (refusedAt === undefined) throw new Error(`Nobody stopped ${grant.grantId} within ${mostCalls} calls.`)
  const frozenAt = await untilFrozen(stack, grant)
  const { items } = await listIncidents(db, { grantId: grant.grantId })
  const first = items.at(-1)
  const chargedAt = first?.chargedAt?.getTime()
  if (!first || chargedAt === undefined) throw new Error(`There is no incident of ${grant.grantId}.`)
  return {
    recordedMs: first.openedAt.getTime() - chargedAt,
    refusedMs: refusedAt - chargedAt,
    frozenMs: frozenAt - chargedAt,
  }
}

async function untilFrozen(stack: Stack, { account, grantId }: { account: Hex; grantId: Hex }): Promise<number> {
  const deadline = Date.now() + frozenTimeoutMs
  for (;;) {
    const [status] = await stack.clients.publicClient.readContract({
      address: stack.contracts.sessionKeyValidator,
      abi: sessionKeyValidatorAbi,
      functionName: 'grantState',
      args: [account, grantId],
    })
    if (status === frozenOnChain) return Date.now()
    if (Date.now() > deadline) throw new Error(`The chain has not frozen ${grantId} in ${frozenTimeoutMs} ms.`)
    await delay(20)
  }
}

const frozenOnChain = 2

function spreadOf(values: readonly number[]): Spread {
  const sorted = [...values].sort((left, right) => left - right)
  const at = (rank: number) => sorted[Math.max(0, Math.ceil(rank * sorted.length) - 1)] ?? 0
  return { p50: at(0.5), p90: at(0.9), p99: at(0.99), max: at(1) }
}
