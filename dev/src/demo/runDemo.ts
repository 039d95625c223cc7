import { setTimeout as delay } from 'node:timers/promises'
import { type GrantSource, parseAmount, reserveOf } from '@protocolbanks/stream-protocol'
import { entryPointAbi } from '@protocolbanks/stream-protocol/abi/entryPointAbi'
import { prepaidReserveAbi } from '@protocolbanks/stream-protocol/abi/prepaidReserveAbi'
import { createPayingFetch } from '@protocolbanks/stream-sdk'
import { Presets, SingleBar } from 'cli-progress'
import { type Address, erc20Abi } from 'viem'
import { privateKeyToAddress } from 'viem/accounts'
import type { Stack } from '../stack/stack.ts'
import { type Budget, grantBudget } from '../story/grantBudget.ts'
import type { AccountKind } from '../story/openAccount.ts'
import { type Merchant, openMerchant, weatherPrice } from '../story/openMerchant.ts'
import { untilMirrored } from '../story/untilMirrored.ts'
import type { DemoReport, MerchantBalance } from './demoReport.ts'
import { forEachInFlight } from './forEachInFlight.ts'
import { percentile } from './percentile.ts'

const decimals = 6
const inFlight = 16
const budgetAtomic = parseAmount('50', decimals)
const settleTimeoutMs = 60_000

/** `source`: what the owner pays out of. */
export type DemoOptions = { calls: number; accountKind: AccountKind; source: GrantSource }

export type DemoResult = { report: DemoReport; balance: MerchantBalance; priceAtomic: bigint; decimals: number }

/** The story, told on the console. Every figure of the report is read from where it is true: chain, journal, answers. */
export async function runDemo(stack: Stack, { calls, accountKind, source }: DemoOptions): Promise<DemoResult> {
  const merchant = await openMerchant(stack)
  try {
    console.log(`\nA merchant asks ${weatherPrice} USDC for each call of ${merchant.serviceUrl}`)
    const budget = await grantBudget(stack, {
      payees: [merchant.payee],
      amountAtomic: budgetAtomic,
      days: 30,
      paymasterApiKey: merchant.apiKey,
      accountKind,
      source,
    })
    console.log(`The owner signed once: account ${budget.account}, budget 50 USDC for 30 days, one payee`)
    if (source === 'reserve')
      console.log('The 50 USDC are in the reserve: without an allowance, back after a day of notice')
    const before = await readBalances(stack, budget, merchant, source)
    await untilMirrored(stack, budget)

    const { served, addedMs } = await callService(merchant, budget, calls)
    const { chargedAtomic, settledAtomic, gas } = await settleRest(merchant, budget, served)
    const after = await readBalances(stack, budget, merchant, source)
    const operations = await countUserOperations(stack, budget.account)
    const signed = budget.ownerSignatures()
    const report: DemoReport = {
      calls,
      served,
      refused: calls - served,
      chargedAtomic: chargedAtomic.toString(),
      settledAtomic: settledAtomic.toString(),
      merchantReceivedAtomic: (after.merchant - before.merchant).toString(),
      paidFrom: { source, beforeAtomic: before.payer.toString(), afterAtomic: after.payer.toString() },
      account: accountKind,
      ownerSignatures: signed.operations,
      ownerAuthorizations: signed.authorizations,
      userOperations: operations,
      accountEthSpentWei: (before.eth - after.eth).toString(),
      gasPerSettlement: gas.length === 0 ? 0 : Math.round(sum(gas) / gas.length),
      gasPerCall: served === 0 ? 0 : Math.round(sum(gas) / served),
      addedMs: { p50: Number(percentile(addedMs, 50).toFixed(3)), p99: Number(percentile(addedMs, 99).toFixed(3)) },
      meter: stack.redis ? 'redis' : 'embedded',
      entryPoint: stack.entryPoint,
    }
    const balance = { before: before.merchant, after: after.merchant }
    return { report, balance, priceAtomic: parseAmount(weatherPrice, decimals), decimals }
  } finally {
    await merchant.stop()
  }
}

/** The agent at work. A call counts as served when its answer is 200 and readable. */
async function callService(merchant: Merchant, { grant, sessionKey }: Budget, calls: number) {
  const payingFetch = createPayingFetch({ grant, sessionKey, limits: { maxPerCall: weatherPrice } })
  const addedMs: number[] = []
  let served = 0
  const bar = new SingleBar(
    {
      format: 'The agent calls  {bar} {value}/{total}  {duration_formatted}',
      noTTYOutput: true,
      notTTYSchedule: 5_000,
    },
    Presets.shades_classic,
  )
  bar.start(calls, 0)
  await forEachInFlight(calls, inFlight, async (index) => {
    try {
      const answer = await payingFetch(`${merchant.serviceUrl}/city-${index}`)
      const added = /gateway;dur=([\d.]+)/.exec(answer.headers.get('server-timing') ?? '')?.[1]
      await answer.json()
      if (!answer.ok) return
      served++
      if (added !== undefined) addedMs.push(Number(added))
    } catch (error) {
      console.error(`\ncall ${index}: ${error instanceof Error ? error.message : error}`)
    } finally {
      bar.increment()
    }
  })
  bar.stop()
  return { served, addedMs }
}

type Usage = { grants: { grantId: string; channels: { chargedAtomic: string; settledAtomic: string }[] }[] }
type Settlements = { settlements: { state: string; gasUsed: string | null; errorMessage: string | null }[] }

/** Asks for the last settlement, and waits until everything that was charged is confirmed. */
async function settleRest(merchant: Merchant, { grant, sessionKey }: Budget, served: number) {
  const key = privateKeyToAddress(sessionKey)
  const expected = BigInt(served) * parseAmount(weatherPrice, decimals)
  const deadline = Date.now() + settleTimeoutMs
  let isRequested = false
  for (;;) {
    const usage = await merchant.api.get<Usage>(`/session-keys/${key}/usage`)
    const { settlements } = await merchant.api.get<Settlements>(`/settlements?grantId=${grant.grantId}&limit=100`)
    const channels = usage.grants.flatMap(({ channels: open }) => open)
    const chargedAtomic = channels.reduce((total, channel) => total + BigInt(channel.chargedAtomic), 0n)
    const settledAtomic = channels.reduce((total, channel) => total + BigInt(channel.settledAtomic), 0n)
    const isOpen = settlements.some(({ state }) => state !== 'confirmed' && state !== 'dead')
    const isDone = chargedAtomic === expected && settledAtomic === chargedAtomic && !isOpen
    if (isDone || Date.now() > deadline) {
      for (const { state, errorMessage } of settlements)
        if (state === 'dead') console.error(`A settlement failed: ${errorMessage}`)
      const gas = settlements.flatMap(({ gasUsed }) => (gasUsed === null ? [] : Number(gasUsed)))
      console.log(`${gas.length} settlements are confirmed on-chain`)
      return { chargedAtomic, settledAtomic, gas }
    }
    if (!isRequested && !isOpen && chargedAtomic === expected && settledAtomic < chargedAtomic) {
      await merchant.api.post('/settlements', { grantId: grant.grantId })
      isRequested = true
    }
    await delay(200)
  }
}

async function readBalances(
  { clients, contracts }: Stack,
  { account, owner, sessionKey }: Budget,
  { payee }: Merchant,
  source: GrantSource,
) {
  const { publicClient } = clients
  const token = { address: contracts.testUsdc, abi: erc20Abi, functionName: 'balanceOf' } as const
  const reserve = { address: reserveOf(contracts.sessionKeyValidator), abi: prepaidReserveAbi } as const
  // An EOA that delegates is account and owner in one.
  const payers = new Set<Address>([account, owner, privateKeyToAddress(sessionKey)])
  const [merchant, held, [pooled], ...eth] = await Promise.all([
    publicClient.readContract({ ...token, args: [payee] }),
    publicClient.readContract({ ...token, args: [account] }),
    publicClient.readContract({ ...reserve, functionName: 'poolOf', args: [account, token.address] }),
    ...[...payers].map((address) => publicClient.getBalance({ address })),
  ])
  return {
    merchant,
    payer: source === 'reserve' ? pooled : held,
    eth: eth.reduce((total, balance) => total + balance, 0n),
  }
}

async function countUserOperations({ clients, entryPoint }: Stack, account: Address): Promise<number> {
  const events = await clients.publicClient.getContractEvents({
    address: entryPoint,
    abi: entryPointAbi,
    eventName: 'UserOperationEvent',
    args: { sender: account },
    fromBlock: 0n,
  })
  return events.length
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0)
}
