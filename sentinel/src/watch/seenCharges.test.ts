import { expect, test } from 'vitest'
import { createSeenCharges } from './seenCharges.ts'

const chargeAt = (atMs: number, requestId = `${atMs}`) => ({ grantId: '0x01', payee: '0x02', requestId, atMs })

test('what is written down is the newest 50,000 charges as they were when it was asked for', async () => {
  const seen = createSeenCharges()
  for (let atMs = 0; atMs < 50_010; atMs++) seen.add(chargeAt(atMs))
  const writing = seen.encode()
  seen.add(chargeAt(50_010))
  const again = createSeenCharges(await writing)
  expect([9, 10, 50_009, 50_010].map((atMs) => again.has(chargeAt(atMs)))).toEqual([false, true, true, false])
})

test('writing down lets others have their turn', async () => {
  const seen = createSeenCharges()
  for (let atMs = 0; atMs < 50_000; atMs++) seen.add(chargeAt(atMs))
  let turns = 0
  const turn = () => {
    turns++
    timer = setImmediate(turn)
  }
  let timer = setImmediate(turn)
  await seen.encode()
  clearImmediate(timer)
  expect(turns).toBeGreaterThan(10)
})

test('charges are forgotten by their age, and known by their request whatever its letters', () => {
  const seen = createSeenCharges()
  expect(seen.add(chargeAt(1, 'Old'))).toBe(true)
  expect(seen.add(chargeAt(2, 'new'))).toBe(true)
  seen.forgetBefore(2)
  expect(seen.has(chargeAt(1, 'Old'))).toBe(false)
  expect(seen.add(chargeAt(2, 'NEW'))).toBe(false)
})
