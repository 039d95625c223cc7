import { SettleManyTooLargeError } from '@protocolbanks/stream-bundler-client'
import type { SettlementWork } from '@protocolbanks/stream-db'
import { type Claim, type GrantTerms, type Hex, payeeRootOf } from '@protocolbanks/stream-protocol'
import fc from 'fast-check'
import { getAddress, keccak256, numberToHex, stringToHex } from 'viem'
import { expect, test } from 'vitest'
import { type Candidate, planTransaction } from './planTransaction.ts'

const addressOf = (name: string) => getAddress(`0x${keccak256(stringToHex(name)).slice(-40)}`)
const payee = addressOf('payee')
const terms: GrantTerms = {
  sessionKey: addressOf('session key'),
  settler: addressOf('settler'),
  token: addressOf('token'),
  totalLimit: 100n,
  periodLimit: 0n,
  period: 0,
  validAfter: 0,
  validUntil: 4_000_000_000,
  payeeRoot: payeeRootOf([payee]),
  source: 'allowance',
  salt: `0x${'00'.repeat(24)}`,
}
const claim: Claim = {
  payee,
  amount: 5n,
  cumulativeAmount: 5n,
  signature: `0x${'11'.repeat(64)}1b` as Hex,
  proof: [],
}

function candidate(index: number): Candidate {
  const account = addressOf(`account ${index}`)
  const grant = { ...terms, account, grantId: numberToHex(index, { size: 32 }) }
  return { work: { grant, settlement: { id: `stl_${index}` } } as SettlementWork, claims: [claim] }
}
const idOf = ({ settlement }: SettlementWork) => Number(settlement.id.slice(4))
const tooLarge = () => new SettleManyTooLargeError({ detail: 'out of gas', maxGas: 1n })

/** A chain that runs at most `room` settlements at once, none with a poisonous one, and pays nothing to idle ones. */
async function plan(
  count: number,
  { room = 100, poison = [] as number[], stopped = [] as number[], idle = [] as number[] },
) {
  let rounds = 0
  const all = Array.from({ length: count }, (_, index) => candidate(index))
  // The call data has the accounts in the order of those candidates that are left.
  const inside = (data: Hex) =>
    all.filter(({ work }) => data.includes(work.grant.account.slice(2).toLowerCase())).map(({ work }) => idOf(work))
  const planned = await planTransaction(all, {
    async estimate(data) {
      rounds++
      const ids = inside(data)
      if (ids.length > room || ids.some((id) => poison.includes(id))) throw tooLarge()
      return { gas: 1_000n, paid: ids.map((id) => (stopped.includes(id) || idle.includes(id) ? 0n : 5n)) }
    },
    check: async (work) => (stopped.includes(idOf(work)) ? new Error('frozen') : undefined),
  })
  return {
    rounds,
    sent: planned.candidates.map(({ work }) => idOf(work)),
    sentData: planned.candidates.length > 0 ? inside(planned.data) : [],
    refused: planned.refused.map(({ work }) => idOf(work)),
    later: planned.later.map(idOf),
  }
}

test('all that can be paid go together', async () => {
  expect(await plan(5, {})).toMatchObject({ rounds: 1, sent: [0, 1, 2, 3, 4], refused: [], later: [] })
})

test('grants that are not live are left out, and those whose claims are only refused stay in', async () => {
  expect(await plan(5, { stopped: [1, 3], idle: [2] })).toMatchObject({ sent: [0, 2, 4], refused: [1, 3], later: [] })
})

test('what is too much for one transaction comes later', async () => {
  expect(await plan(10, { room: 3 })).toMatchObject({ sent: [0, 1], refused: [], later: [5, 6, 7, 8, 9, 2, 3, 4] })
})

test('one that makes the whole fail is found and refused alone, without taking others with it', async () => {
  expect(await plan(1, { poison: [0] })).toMatchObject({ sent: [], refused: [0], later: [] })
  const many = await plan(8, { poison: [1] })
  expect(many).toMatchObject({ sent: [0], refused: [], later: [4, 5, 6, 7, 2, 3, 1] })
})

test('nobody is lost: each is sent, refused or comes later, and what is sent is what was estimated', async () => {
  const some = fc.uniqueArray(fc.nat(19), { maxLength: 6 })
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 20 }),
      fc.integer({ min: 1, max: 20 }),
      some,
      some,
      some,
      async (count, room, poison, stopped, idle) => {
        const planned = await plan(count, { room, poison, stopped, idle })
        const everybody = [...planned.sent, ...planned.refused, ...planned.later].toSorted((a, b) => a - b)
        expect(everybody).toEqual(Array.from({ length: count }, (_, index) => index))
        expect(planned.sentData).toEqual(planned.sent)
        expect(planned.rounds).toBeLessThanOrEqual(count + 1)
      },
    ),
    { numRuns: 60 },
  )
})
