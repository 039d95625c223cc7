import type { Hex } from '@protocolbanks/stream-protocol'
import { pino } from 'pino'
import {
  keccak256,
  parseTransaction,
  TransactionNotFoundError,
  TransactionReceiptNotFoundError,
  BaseError as ViemError,
} from 'viem'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { expect, test } from 'vitest'
import { type DriveDeps, driveTransaction, signTransaction } from './driveTransaction.ts'

const sender = privateKeyToAccount(generatePrivateKey())
const request = {
  chainId: 31_337,
  to: sender.address,
  data: '0x' as const,
  gas: 100_000n,
  maxFeePerGas: 100n,
  maxPriorityFeePerGas: 10n,
}

type Recorded = { nonce: number; rawTransaction: Hex; hash: Hex }

/** A node that does what `onSend` says, and a database that remembers. */
async function arrange(change: {
  nonce?: number
  onSend(raw: Hex, chain: FakeChain): void
  earlier?: Hex[]
  limit?: bigint
}) {
  const { nonce = 0, earlier = [], limit = 1_000n } = change
  const chain: FakeChain = { head: 10n, nonce: 0, included: new Map(), pool: new Set(), sent: [], outages: 0 }
  const records: Recorded[] = []
  const hashOf = keccak256
  const deps: DriveDeps = {
    chain: {
      getBlockNumber: async () => {
        if (chain.outages-- > 0) throw new ViemError('The node is gone.')
        return chain.head++
      },
      getTransactionCount: async () => chain.nonce,
      getTransactionReceipt: async ({ hash }: { hash: Hex }) => {
        const block = chain.included.get(hash)
        if (block === undefined) throw new TransactionReceiptNotFoundError({ hash })
        return { transactionHash: hash, blockNumber: block }
      },
      getTransaction: async ({ hash }: { hash: Hex }) => {
        if (!chain.pool.has(hash)) throw new TransactionNotFoundError({ hash })
        return {}
      },
      sendRawTransaction: async ({ serializedTransaction }: { serializedTransaction: Hex }) => {
        chain.sent.push(serializedTransaction)
        change.onSend(serializedTransaction, chain)
        chain.pool.add(hashOf(serializedTransaction))
        return hashOf(serializedTransaction)
      },
      estimateFeesPerGas: async () => ({ maxFeePerGas: 90n, maxPriorityFeePerGas: 9n }),
    } as never,
    sender,
    store: {
      record: async (_, version) => {
        records.push(version)
      },
      included: async () => {},
      sent: async () => {},
      recordedFrom: async () => earlier,
    },
    confirmations: 2,
    stuckMs: 0,
    maxFeePerGas: limit,
    pollMs: 1,
    inclusionTimeoutMs: 60_000,
    clock: Date.now,
    crashPoint: () => {},
    logger: pino({ level: 'silent' }),
  }
  const version = await signTransaction(sender, { ...request, nonce })
  const recorded = { id: 'stx_1', nonce, rawTransaction: version.rawTransaction, hashes: [version.hash], sentAt: null }
  const drive = (overrides: Partial<DriveDeps> = {}, signal = new AbortController().signal) =>
    driveTransaction(recorded, { ...deps, ...overrides }, signal)
  return { chain, records, recorded, drive }
}

type FakeChain = {
  head: bigint
  nonce: number
  included: Map<Hex, bigint>
  pool: Set<Hex>
  sent: Hex[]
  outages: number
}

function include(raw: Hex, chain: FakeChain): void {
  chain.included.set(keccak256(raw), chain.head)
  chain.nonce++
}

test('it is sent once and its receipt returned when it is deep enough, whatever outages there are', async () => {
  const { chain, recorded, records, drive } = await arrange({ onSend: include })
  chain.outages = 3
  expect(await drive({ stuckMs: 60_000 })).toMatchObject({
    kind: 'included',
    receipt: { transactionHash: recorded.hashes[0] },
  })
  expect(chain.sent).toEqual([recorded.rawTransaction])
  expect(records).toEqual([])
})

test('each replacement is recorded before it is sent, keeps the nonce and the call, and offers more', async () => {
  const { chain, recorded, records, drive } = await arrange({
    onSend(raw, node) {
      expect([recorded.rawTransaction, ...records.map(({ rawTransaction }) => rawTransaction)]).toContain(raw)
      if (records.length === 3) include(raw, node)
    },
  })
  const end = await drive()
  expect(end).toMatchObject({ kind: 'included', receipt: { transactionHash: records[2]?.hash } })
  const versions = [recorded.rawTransaction, ...records.map(({ rawTransaction }) => rawTransaction)].map((raw) =>
    parseTransaction(raw),
  )
  const { nonce, to, data, gas } = parseTransaction(recorded.rawTransaction)
  for (const version of versions) expect(version).toMatchObject({ to, gas, chainId: 31_337 })
  expect(new Set(versions.map((version) => `${version.nonce} ${version.data}`))).toEqual(new Set([`${nonce} ${data}`]))
  expect(versions.map(({ maxFeePerGas }) => maxFeePerGas)).toEqual([100n, 113n, 128n, 144n])
  expect(chain.sent.length).toBeGreaterThanOrEqual(4)
})

test('a version that was included while a later one was made is found', async () => {
  const { recorded, records, drive } = await arrange({
    onSend(_, node) {
      if (records.length === 2) include(recorded.rawTransaction, node)
    },
  })
  expect(await drive()).toMatchObject({ kind: 'included', receipt: { transactionHash: recorded.hashes[0] } })
})

test('the fee limit ends replacing, not waiting', async () => {
  const stopping = new AbortController()
  const { records, drive } = await arrange({
    onSend(_, node) {
      // Three versions, and the last of them again and again.
      if (node.sent.length >= 10) stopping.abort()
    },
    limit: 130n,
  })
  expect(await drive({}, stopping.signal)).toEqual({ kind: 'pending' })
  expect(records).toHaveLength(2)
})

test('a node that asks for more at once gets a replacement at once', async () => {
  const { records, drive } = await arrange({
    onSend(raw, node) {
      if (records.length < 2) throw new ViemError('replacement transaction underpriced')
      include(raw, node)
    },
  })
  expect(await drive({ stuckMs: 60_000 })).toMatchObject({ kind: 'included' })
  expect(records).toHaveLength(2)
})

test('a nonce that another transaction took for good is lost', async () => {
  const { chain, drive } = await arrange({ onSend: () => {} })
  chain.nonce = 1
  expect(await drive()).toEqual({ kind: 'lost' })
  expect(chain.sent).toEqual([])
})

test('earlier transactions that a reorganisation took back are sent before it', async () => {
  const earlier = await signTransaction(sender, { ...request, nonce: 0 })
  const { chain, recorded, drive } = await arrange({ nonce: 1, earlier: [earlier.rawTransaction], onSend: include })
  expect(await drive({ stuckMs: 60_000 })).toMatchObject({ kind: 'included' })
  expect(chain.sent).toEqual([earlier.rawTransaction, recorded.rawTransaction])
})

test('a stop ends it where it is, and a sender without ether only waits', async () => {
  const stopping = new AbortController()
  const { records, drive } = await arrange({
    onSend() {
      setTimeout(() => stopping.abort(), 20)
      throw new ViemError('insufficient funds for gas * price + value')
    },
  })
  expect(await drive({ stuckMs: 60_000 }, stopping.signal)).toEqual({ kind: 'pending' })
  expect(records).toEqual([])
})
