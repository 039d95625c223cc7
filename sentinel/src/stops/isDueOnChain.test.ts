import { expect, test } from 'vitest'
import { isDueOnChain } from './isDueOnChain.ts'

const nowMs = Date.UTC(2026, 0, 1)
const at = (ms: number) => new Date(nowMs + ms)

test.each([
  ['where claims wait for the owner', { settleUntil: null, refusedAt: null, owes: true }, true],
  ['when the time for settling is up', { settleUntil: at(0), refusedAt: null, owes: true }, true],
  ['when nothing is owed any more', { settleUntil: at(1), refusedAt: at(-3_000), owes: false }, true],
])('a stop goes to the chain %s', (_, stop, expected) => {
  expect(isDueOnChain(stop, nowMs)).toBe(expected)
})

test.each([
  ['something is owed', { settleUntil: at(1), refusedAt: at(-60_000), owes: true }],
  ['a gateway still serves the grant', { settleUntil: at(1), refusedAt: null, owes: false }],
  ['the newest charges may not be journalled yet', { settleUntil: at(1), refusedAt: at(-2_999), owes: false }],
])('a stop that lets what was accepted be settled waits while %s', (_, stop) => {
  expect(isDueOnChain(stop, nowMs)).toBe(false)
})
