import { setTimeout as delay } from 'node:timers/promises'
import { createDb, type Db, ensureChannel, setGasBudget } from '@protocolbanks/stream-db'
import { connectAsLogin } from '@protocolbanks/stream-db/testing'
import { type Service, type Stack, startService, startStack } from '@protocolbanks/stream-dev'
import type { Hex } from '@protocolbanks/stream-protocol'
import { parseEther } from 'viem'
import { generatePrivateKey, privateKeyToAddress } from 'viem/accounts'
import { machine } from '../machine.ts'
import { chargeAll, createDebtors, type Debtors } from './debts.ts'

// As many accounts as asked for owe a little each; how long, and how much gas, until the chain has paid all of it: many
// operations at once, one after the other, and by ordinary transactions. Everything as processes, on a chain that makes a
// block of each transaction at once.

export type SettlementBenchOptions = { accounts: number; rounds: number }

/** What is measured: a stack without a settlement worker, and who owes. */
type Scene = { stack: Stack; db: Db; query: ReturnType<typeof connectAsLogin>['query']; debtors: Debtors }

type Way = { name: string; env: Record<string, string> }

/** One round of one way. Gas is what the transactions used, everything included. */
export type Round = {
  seconds: number
  perSecond: number
  transactions: number
  settlementsPerTransaction: number
  gasPerSettlement: number
}

const timeoutMs = 3_600_000
/** More than all of it costs. */
const gasBudgetWei = parseEther('1000')

export async function benchSettlement({ accounts, rounds }: SettlementBenchOptions): Promise<object> {
  const stack = await startStack({
    logLevel: 'warn',
    withRedis: false,
    log: (line) => console.log(line),
    env: { paymaster: { OPERATOR_GAS_BUDGET_WEI_PER_DAY: `${gasBudgetWei}` } },
  })
  const db = createDb({ url: stack.databaseUrl, onError: (error) => console.error(error.message) })
  const login = connectAsLogin(stack.databaseUrl)
  try {
    await stack.settlement.stop()
    const debtors = await createDebtors(stack, accounts)
    const scene: Scene = { stack, db, query: login.query, debtors }
    await setGasBudget(db, debtors.merchantId, gasBudgetWei)
    await openChannels(scene)
    console.log(`${accounts} accounts have given a budget`)
    const ways = await createWays(stack)
    // The first settlement of a grant costs more, and is measured by no way.
    let charged = 1
    const [first] = ways
    if (!first) throw new Error('There is no way to settle.')
    const firstRound = await measure(scene, first, charged)
    const results: Record<string, Round[]> = {}
    for (let round = 0; round < rounds; round++) {
      for (const way of ways) {
        const measured = await measure(scene, way, ++charged)
        console.log(`round ${round + 1}, ${way.name}: ${measured.seconds} s`)
        results[way.name] = [...(results[way.name] ?? []), measured]
      }
    }
    const medians = Object.fromEntries(Object.entries(results).map(([name, of]) => [name, median(of)]))
    console.log(`\n${machine()}\n${accounts} accounts; medians of ${rounds} rounds\n`)
    console.table({ 'first settlement of each': firstRound, ...medians })
    return { machine: machine(), accounts, rounds, first: firstRound, medians, ratios: ratiosOf(medians), results }
  } finally {
    await login.close()
    await db.close()
    await stack.stop()
  }
}

async function createWays({ clients: { walletClient, publicClient } }: Stack): Promise<Way[]> {
  const sender = generatePrivateKey()
  const hash = await walletClient.sendTransaction({ to: privateKeyToAddress(sender), value: parseEther('100') })
  await publicClient.waitForTransactionReceipt({ hash })
  return [
    { name: 'together', env: { MAX_IN_FLIGHT: '64' } },
    { name: 'one by one', env: { MAX_IN_FLIGHT: '1' } },
    { name: 'transactions', env: { SETTLEMENT_ROUTE: 'transaction', TRANSACTION_KEY: sender } },
  ]
}

async function measure(scene: Scene, { env }: Way, charged: number): Promise<Round> {
  const { stack, db, debtors } = scene
  const worker = await startWorker(stack, env)
  try {
    const head = await stack.clients.publicClient.getBlockNumber({ cacheTime: 0 })
    await chargeAll(stack, db, debtors, charged)
    const startedAt = performance.now()
    const count = debtors.budgets.length
    await until(async () => (await settledSince(scene, head)).settlements === count)
    const seconds = Number(((performance.now() - startedAt) / 1_000).toFixed(2))
    const { hashes } = await settledSince(scene, head)
    let gas = 0n
    for (const hash of hashes) gas += (await stack.clients.publicClient.getTransactionReceipt({ hash })).gasUsed
    // What the next round charges is claimed once the mirror has seen this one.
    await until(async () => (await owing(scene)) === 0)
    return {
      seconds,
      perSecond: Number((count / seconds).toFixed(2)),
      transactions: hashes.length,
      settlementsPerTransaction: Number((count / hashes.length).toFixed(2)),
      gasPerSettlement: Number(gas / BigInt(count)),
    }
  } finally {
    await worker.stop()
  }
}

async function startWorker(stack: Stack, env: Record<string, string>): Promise<Service> {
  const { accounts, operatorApiKey, paymaster, bundler, chain, contracts, entryPoint, databaseUrl, logDirectory } =
    stack
  return startService('settlement', {
    logDirectory,
    env: {
      DATABASE_URL: databaseUrl,
      RPC_URL: chain.url,
      CHAIN_ID: `${chain.chainId}`,
      SESSION_MODULE: contracts.sessionKeyValidator,
      ENTRY_POINT: entryPoint,
      TOKEN: contracts.testUsdc,
      BUNDLER_URL: bundler.url,
      PAYMASTER_URL: paymaster.url,
      PAYMASTER_API_KEY: operatorApiKey,
      SETTLER_KEY: accounts.settler.privateKey,
      POLL_MS: '100',
      CONFIRMATIONS: '1',
      LOG_LEVEL: 'warn',
      ...env,
    },
  })
}

/** What the registration of a session key writes. */
async function openChannels({ db, query, debtors: { budgets, payee, merchantId } }: Scene): Promise<void> {
  for (const { grant } of budgets) {
    const isActive = `select from "grant" where grant_id = $1 and status = 'active'`
    await until(async () => (await query(isActive, [grant.grantId])).length === 1)
    await ensureChannel(db, { grantId: grant.grantId, payee, merchantId, payeeProof: [] })
  }
}

async function settledSince({ query }: Scene, block: bigint): Promise<{ settlements: number; hashes: Hex[] }> {
  const rows = await query<{ hash: Hex; count: string }>(
    `select tx_hash as hash, count(*) as count from settlement
     where state = 'confirmed' and block_number > $1 group by tx_hash`,
    [block.toString()],
  )
  return {
    settlements: rows.reduce((sum, { count }) => sum + Number(count), 0),
    hashes: rows.map(({ hash }) => hash),
  }
}

async function owing({ query }: Scene): Promise<number> {
  return (await query('select from channel where charged > settled')).length
}

async function until(isSo: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + timeoutMs
  while (!(await isSo())) {
    if (performance.now() > deadline) throw new Error(`It was not so within ${timeoutMs} ms.`)
    await delay(100)
  }
}

function median(rounds: readonly Round[]): Round {
  const of = (pick: (round: Round) => number) =>
    rounds.map(pick).sort((left, right) => left - right)[Math.floor(rounds.length / 2)] ?? 0
  return {
    seconds: of(({ seconds }) => seconds),
    perSecond: of(({ perSecond }) => perSecond),
    transactions: of(({ transactions }) => transactions),
    settlementsPerTransaction: of(({ settlementsPerTransaction }) => settlementsPerTransaction),
    gasPerSettlement: of(({ gasPerSettlement }) => gasPerSettlement),
  }
}

/** Against one by one: how many times as fast, and which part of the gas. */
function ratiosOf(medians: Record<string, Round>): object {
  const base = medians['one by one']
  if (!base) return {}
  return Object.fromEntries(
    Object.entries(medians).map(([name, { seconds, gasPerSettlement }]) => [
      name,
      {
        speed: Number((base.seconds / seconds).toFixed(2)),
        gas: Number((gasPerSettlement / base.gasPerSettlement).toFixed(3)),
      },
    ]),
  )
}
