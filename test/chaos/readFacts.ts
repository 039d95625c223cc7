import { connectAsLogin } from '@protocolbanks/stream-db/testing'
import type { Address, Hex } from '@protocolbanks/stream-protocol'
import { sessionKeyValidatorAbi } from '@protocolbanks/stream-protocol/abi/sessionKeyValidatorAbi'
import { erc20Abi, getAbiItem, getAddress } from 'viem'
import { runPb } from '../src/testing/runPb.ts'
import type { Market } from './openMarket.ts'
import type { FaultResult } from './runSchedule.ts'
import type { Traffic } from './startTraffic.ts'
import { countUsage, unfinishedSql } from './untilSettled.ts'
import type { Facts } from './verdict.ts'
import type { World } from './world.ts'

type Login = ReturnType<typeof connectAsLogin>
type Row = Record<string, string>

/** Asks Postgres, the chain, Redis and `pb reconcile`, each for its own. */
export async function readFacts(
  world: World,
  market: Market,
  traffic: Traffic,
  results: readonly FaultResult[],
): Promise<Facts> {
  const login = connectAsLogin(world.postgres.url)
  try {
    const reconciled = await runPb(['reconcile'], { PB_URL: world.urls['gateway-1'], PB_KEY: world.operatorApiKey })
    return {
      calls: traffic.calls,
      ...(await readBooks(login)),
      payments: await readPayments(world),
      balances: await readBalances(world, market),
      copies: results.reduce((sum, { fault }) => sum + (fault.kind === 'duplicated-usage' ? fault.copies : 0), 0),
      waiting: await countUsage(world),
      reconcile: { exitCode: reconciled.code, output: reconciled.stdout + reconciled.stderr },
      surprises: [...traffic.surprises, ...Object.values(world.processes).flatMap(({ surprises }) => surprises)],
    }
  } finally {
    await login.close()
  }
}

async function readBooks({ query }: Login) {
  const journal = await query<Row>('select event_id, request_id, grant_id, payee, amount from charge')
  const channels = await query<Row>('select grant_id, payee, charged, settled from channel')
  const claims = await query<Row>(
    `select i.settlement_id, s.grant_id, i.payee, i.paid from settlement_item i
     join settlement s on s.id = i.settlement_id where s.state = 'confirmed' and i.paid is not null`,
  )
  const unfinished = await query<{ id: string; state: string; errorCode: string | null }>(
    `select id, state, error_code as "errorCode" from settlement where ${unfinishedSql}`,
  )
  const [byHand] = await query<{ count: string }>('select count(*) from settlement_request')
  const quarantined = await query<{ requestId: string; reason: string }>(
    `select event ->> 'requestId' as "requestId", reason from usage_quarantine`,
  )
  const amount = (text: string | undefined) => BigInt(text ?? 0)
  return {
    journal: journal.map((row) => ({
      ...channelOf(row),
      eventId: row.event_id ?? '',
      requestId: row.request_id ?? '',
      amount: amount(row.amount),
    })),
    channels: channels.map((row) => ({
      ...channelOf(row),
      charged: amount(row.charged),
      settled: amount(row.settled),
    })),
    claims: claims.map((row) => ({ ...channelOf(row), settlementId: row.settlement_id ?? '', paid: amount(row.paid) })),
    unfinished,
    requestedByHand: Number(byHand?.count ?? 0),
    quarantined,
  }
}

function channelOf(row: Row): { grantId: Hex; payee: Address } {
  return { grantId: row.grant_id as Hex, payee: getAddress(row.payee ?? '') }
}

async function readPayments({ clients, contracts }: World) {
  const logs = await clients.publicClient.getLogs({
    address: contracts.sessionKeyValidator,
    event: getAbiItem({ abi: sessionKeyValidatorAbi, name: 'Settled' }),
    fromBlock: 0n,
    strict: true,
  })
  return logs.map(({ args: { grantId, payee, paid, settled } }) => ({ grantId, payee, paid, settled }))
}

function readBalances({ clients, contracts }: World, { shops }: Market) {
  return Promise.all(
    shops.map(async ({ payee }) => {
      const args = [payee] as const
      const token = { address: contracts.testUsdc, abi: erc20Abi, functionName: 'balanceOf', args } as const
      return { payee, received: await clients.publicClient.readContract(token) }
    }),
  )
}
