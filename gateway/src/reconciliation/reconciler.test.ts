import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { ensureChannel, listReconciliations, registerPendingGrant } from '@protocolbanks/stream-db'
import { createTestDatabase, type TestDatabase } from '@protocolbanks/stream-db/testing'
import { type GrantTerms, grantIdOf, payeeRootOf } from '@protocolbanks/stream-protocol'
import { pino } from 'pino'
import { Registry } from 'prom-client'
import { createPublicClient, http } from 'viem'
import { afterEach, beforeEach, expect, inject, test } from 'vitest'
import { chain, createTestApi, randomAddress, randomHex } from '../api/testing/testApi.ts'
import { createEmbeddedMeter } from '../meter/embedded.ts'
import { createReconciler } from './reconciler.ts'

// How reconciliations are scheduled, shared and ended. What they find is in test/src/operations.test.ts.

let database: TestDatabase
let stopping: AbortController
const running: Promise<void>[] = []
beforeEach(async () => {
  database = await createTestDatabase(inject('postgresUrl'))
  stopping = new AbortController()
})
afterEach(async () => {
  stopping.abort()
  await Promise.all(running.splice(0))
  await database.drop()
})

function start(owner: string, rpcUrl = 'http://127.0.0.1:1'): Registry {
  const metrics = new Registry()
  const reconciler = createReconciler({
    db: database.db,
    client: createPublicClient({ transport: http(rpcUrl, { retryCount: 0 }) }),
    meter: createEmbeddedMeter({ clock: Date.now, instance: owner }),
    ...chain,
    clock: Date.now,
    meterPatienceMs: 1,
    mirrorPatienceMs: 1,
    owner,
    intervalMs: 3_600_000,
    logger: pino({ level: 'silent' }),
    metrics,
  })
  running.push(reconciler.run(stopping.signal))
  return metrics
}

async function mirrorTheChain(): Promise<void> {
  const name = `${chain.chainId}:${chain.module.toLowerCase()}`
  await database.query(
    'insert into indexer_cursor (name, block_number, block_hash, checked_at) values ($1, 7, $2, now())',
    [name, randomHex(32)],
  )
}

const all = async () => (await listReconciliations(database.db)).items
const soon = { timeout: 60_000, interval: 50 }

test('of many processes one makes the scheduled one, and all show what it found', async () => {
  const registries = ['one', 'two', 'three'].map((owner) => start(owner))
  await mirrorTheChain()
  await expect.poll(all, soon).toMatchObject([{ state: 'done', trigger: 'schedule', differences: 0, blockNumber: 7n }])
  for (const registry of registries) {
    await expect
      .poll(() => registry.metrics(), soon)
      .toMatch(/gateway_reconciliation_finished_timestamp_seconds \d{10}/)
    expect(await registry.metrics()).toContain('gateway_reconciliation_differences{kind="journal"} 0')
  }
  expect(await all()).toHaveLength(1)
})

test('one whose chain does not answer says so, without the address of the node, and finds no difference', async () => {
  const node = createServer((_, response) => response.writeHead(500).end())
  await new Promise<void>((resolve) => node.listen(0, '127.0.0.1', resolve))
  try {
    const payee = randomAddress()
    const terms: GrantTerms = {
      sessionKey: randomAddress(),
      settler: chain.settler,
      token: chain.token,
      totalLimit: 1_000n,
      periodLimit: 0n,
      period: 0,
      validAfter: 1,
      validUntil: 4_000_000_000,
      payeeRoot: payeeRootOf([payee]),
      source: 'allowance',
      salt: randomHex(24),
    }
    const account = randomAddress()
    const grantId = grantIdOf({ ...chain, account, epoch: 0n }, terms)
    await registerPendingGrant(database.db, { grantId, account, epoch: 0n, terms })
    const { id: merchantId } = await createTestApi(database.db).createMerchant('Weather Inc')
    await ensureChannel(database.db, { grantId, payee, merchantId, payeeProof: [] })
    await mirrorTheChain()
    const { port } = node.address() as AddressInfo
    const registry = start('one', `http://127.0.0.1:${port}/secret-key`)
    await expect.poll(all, soon).toMatchObject([{ state: 'failed', errorCode: 'chain.unavailable', differences: null }])
    expect(JSON.stringify((await all())[0]?.errorMessage)).not.toContain('secret-key')
    expect(await registry.metrics()).toContain('gateway_reconciliation_failures_total 1')
    expect(await database.query('select from outbox')).toEqual([])
  } finally {
    node.close()
  }
})
