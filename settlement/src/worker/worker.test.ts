import type { Claimable, DueSettlement, SettlementWork, Urgency } from '@protocolbanks/stream-db'
import { type Address, type Hex, maxUint96 } from '@protocolbanks/stream-protocol'
import { pino } from 'pino'
import { numberToHex } from 'viem'
import { expect, test } from 'vitest'
import type { Route } from './route.ts'
import type { SettleResult } from './verdict.ts'
import { createWorker, type WorkerDeps } from './worker.ts'

const logger = pino({ level: 'silent' })
const addressOf = (number: number) => numberToHex(number, { size: 20 }) as Address

const urgency: Omit<Urgency, 'grantId'> = {
  validUntil: 4_000_000_000,
  dueSince: null,
  withdrawn: false,
  stopping: false,
  source: 'allowance',
  owed: maxUint96,
}

const dueOf = (grant: number, account: number, change: Partial<Urgency> = {}): DueSettlement => ({
  id: `stl_${grant}`,
  grantId: numberToHex(grant, { size: 32 }),
  account: addressOf(account),
  ...urgency,
  ...change,
})

/** What is owed, as a list; each settlement takes until it is told to end. */
function arrange(
  owed: { grant: number; account: number }[],
  change: Partial<WorkerDeps> & { shape?: Partial<Route> } = {},
) {
  const { shape, ...deps } = change
  const running = new Map<string, (result: SettleResult) => void>()
  const started: string[] = []
  const batches: number[] = []
  const results: SettleResult[] = []
  let mostAtOnce = 0
  const workOf = (grant: number, account: Address): SettlementWork => ({
    settlement: {
      id: `stl_${grant}`,
      grantId: numberToHex(grant, { size: 32 }),
      account,
    } as SettlementWork['settlement'],
    items: [],
    grant: {} as SettlementWork['grant'],
    transactions: [],
  })
  const left = new Map(owed.map(({ grant, account }) => [grant, addressOf(account)]))
  const settleOne = (work: SettlementWork, signal: AbortSignal) =>
    new Promise<SettleResult>((resolve) => {
      const { id, account } = work.settlement
      started.push(`${id} ${Number(account)}`)
      running.set(id, (result) => {
        running.delete(id)
        resolve(result)
      })
      mostAtOnce = Math.max(mostAtOnce, running.size)
      signal.addEventListener('abort', () => running.get(id)?.({ outcome: 'waiting', code: 'stopped' }))
    })
  const route: Route = {
    name: 'user-operation',
    maxBatches: 3,
    batchSize: 1,
    takeUp: async () => [],
    settle({ works }, signal) {
      batches.push(works.length)
      return Promise.all(works.map((work) => settleOne(work, signal)))
    },
    ...shape,
  }
  const worker = createWorker({
    listDue: async () => [],
    takeUp: async ({ id, account }) => ({
      ...workOf(0, account),
      settlement: { id, account } as SettlementWork['settlement'],
    }),
    urgencyPolicy: () => ({ now: new Date(), expiryMarginSeconds: 600 }),
    listClaimable: async (limit) =>
      [...left].slice(0, limit).map(
        ([grant, account]): Claimable => ({
          grantId: numberToHex(grant, { size: 32 }) as Hex,
          account,
          trigger: 'threshold',
          ...urgency,
        }),
      ),
    listBusyAccounts: async () => [],
    claim: async ({ grantId, account }) => {
      const grant = Number(grantId)
      return left.delete(grant) ? workOf(grant, account) : undefined
    },
    route,
    onResult: (result) => results.push(result),
    pollMs: 5,
    logger,
    ...deps,
  })
  return { worker, running, started, batches, results, left, workOf, mostAtOnce: () => mostAtOnce }
}

async function during(worker: ReturnType<typeof createWorker>, check: () => Promise<void>): Promise<void> {
  const stopping = new AbortController()
  const run = worker.run(stopping.signal)
  try {
    await check()
  } finally {
    stopping.abort()
    await run
  }
}

test('as many accounts at once as there are places, and a free place is filled', async () => {
  const owed = Array.from({ length: 7 }, (_, index) => ({ grant: index + 1, account: index + 1 }))
  const { worker, running, started, mostAtOnce } = arrange(owed)
  await during(worker, async () => {
    await expect.poll(() => running.size).toBe(3)
    for (let done = 0; done < 7; done++) {
      await expect.poll(() => running.size).toBeGreaterThan(0)
      running.values().next().value?.({ outcome: 'confirmed', paid: 1n })
    }
    await expect.poll(() => started.length).toBe(7)
  })
  expect(mostAtOnce()).toBe(3)
})

test('grants of one account are begun one by one, when the account is free again', async () => {
  let busy: Address[] = []
  const { worker, running, started } = arrange(
    [
      { grant: 1, account: 9 },
      { grant: 2, account: 9 },
      { grant: 3, account: 8 },
    ],
    {
      listBusyAccounts: async (accounts) => {
        busy = accounts.filter((account) =>
          [...running.keys()].some((id) => started.includes(`${id} ${Number(account)}`)),
        )
        return busy
      },
    },
  )
  await during(worker, async () => {
    await expect.poll(() => started.toSorted()).toEqual(['stl_1 9', 'stl_3 8'])
    running.get('stl_1')?.({ outcome: 'confirmed', paid: 1n })
    await expect.poll(() => started).toContain('stl_2 9')
  })
})

test('an account that another worker settles is left alone', async () => {
  const { worker, started } = arrange(
    [
      { grant: 1, account: 9 },
      { grant: 2, account: 8 },
    ],
    {
      listBusyAccounts: async (accounts) => accounts.filter((account) => Number(account) === 9),
    },
  )
  await during(worker, async () => {
    await expect.poll(() => started).toEqual(['stl_2 8'])
  })
  expect(started).toEqual(['stl_2 8'])
})

test('what it works on already is not begun again when its lease is given to it a second time', async () => {
  let leased = 0
  const { worker, started } = arrange([], {
    async listDue() {
      leased += 1
      return [dueOf(1, 9)]
    },
  })
  await during(worker, async () => {
    await expect.poll(() => leased).toBeGreaterThan(5)
  })
  expect(started).toEqual(['stl_1 9'])
})

test('the most urgent come first, begun before or not', async () => {
  let left = [dueOf(1, 1, { owed: 5n }), dueOf(2, 2, { validUntil: 1 })]
  const { worker, started } = arrange([{ grant: 3, account: 3 }], {
    listDue: async () => left,
    takeUp: async ({ id, account }) => {
      left = left.filter((one) => one.id !== id)
      return { settlement: { id, account }, items: [], grant: {}, transactions: [] } as unknown as SettlementWork
    },
  })
  await during(worker, async () => {
    await expect.poll(() => started).toEqual(['stl_2 2', 'stl_3 3', 'stl_1 1'])
  })
})

test('a database that is gone for a while does not end it', async () => {
  let calls = 0
  const { worker, started } = arrange([{ grant: 1, account: 9 }], {
    listDue: async () => {
      if (calls++ < 3) throw new Error('connect ECONNREFUSED')
      return []
    },
  })
  await during(worker, async () => {
    await expect.poll(() => started).toEqual(['stl_1 9'])
  })
})

test('stopping waits for what is in flight, and begins nothing new', async () => {
  const { worker, started, results } = arrange(
    [
      { grant: 1, account: 9 },
      { grant: 2, account: 9 },
    ],
    { listBusyAccounts: async (accounts) => (started.length > 0 ? [...accounts] : []) },
  )
  await during(worker, async () => {
    await expect.poll(() => started).toEqual(['stl_1 9'])
  })
  expect(worker.inFlight()).toBe(0)
  expect(results).toEqual([{ outcome: 'waiting', code: 'stopped' }])
  expect(started).toEqual(['stl_1 9'])
})

const together: Partial<Route> = { name: 'transaction', maxBatches: 1, batchSize: 3 }

test('a route that takes many at once gets full batches, one after the other, each account once in each', async () => {
  const owed = [...Array(6).keys()].map((index) => ({ grant: index + 1, account: index + 1 }))
  const { worker, running, batches, started } = arrange([...owed, { grant: 7, account: 1 }], { shape: together })
  await during(worker, async () => {
    for (const expected of [3, 3, 1]) {
      await expect.poll(() => running.size).toBe(expected)
      for (const finish of [...running.values()]) finish({ outcome: 'confirmed', paid: 1n })
    }
    await expect.poll(() => started.length).toBe(7)
  })
  expect(batches).toEqual([3, 3, 1])
})

test('while another worker has what only one can have, nothing is begun', async () => {
  let isBusy = true
  const { worker, started } = arrange([{ grant: 1, account: 9 }], {
    shape: { ...together, takeUp: async () => (isBusy ? undefined : []) },
  })
  await during(worker, async () => {
    await new Promise((resolve) => setTimeout(resolve, 60))
    expect(started).toEqual([])
    isBusy = false
    await expect.poll(() => started).toEqual(['stl_1 9'])
  })
})

test('what was taken up comes before anything new', async () => {
  let left = true
  const { worker, started, running, workOf } = arrange([{ grant: 1, account: 9 }], {
    shape: {
      ...together,
      async takeUp() {
        const works = left ? [workOf(5, addressOf(8))] : []
        left = false
        return works.length > 0 ? [{ works }] : []
      },
    },
  })
  await during(worker, async () => {
    await expect.poll(() => started).toEqual(['stl_5 8'])
    running.get('stl_5')?.({ outcome: 'confirmed', paid: 1n })
    await expect.poll(() => started).toEqual(['stl_5 8', 'stl_1 9'])
  })
})

test('what is leased is begun also when the next question to the database fails', async () => {
  const { worker, started, workOf } = arrange([], {
    listDue: async () => [dueOf(1, 9), dueOf(2, 8)],
    takeUp: async ({ id, account }) => {
      if (id === 'stl_2') throw new Error('connect ECONNREFUSED')
      return workOf(1, account)
    },
    shape: together,
  })
  await during(worker, async () => {
    await expect.poll(() => started).toEqual(['stl_1 9'])
  })
})
