import fc from 'fast-check'
import { BaseError as ViemError } from 'viem'
import { expect, test } from 'vitest'
import { broadcast } from './broadcast.ts'
import { bumpFees } from './bumpFees.ts'

const wei = fc.bigInt(0n, 10n ** 12n)
const fees = fc.record({ maxFeePerGas: wei, maxPriorityFeePerGas: wei })

test('a replacement offers at least a tenth more of both fees, never more than allowed, and a tip within its fee', () => {
  fc.assert(
    fc.property(fees, fees, wei, (waiting, market, limit) => {
      fc.pre(waiting.maxPriorityFeePerGas <= waiting.maxFeePerGas)
      const bumped = bumpFees(waiting, market, limit)
      if (!bumped) {
        expect(waiting.maxFeePerGas * 9n).toBeGreaterThan(limit * 8n - 16n)
        return
      }
      expect(bumped.maxFeePerGas).toBeLessThanOrEqual(limit)
      expect(bumped.maxPriorityFeePerGas).toBeLessThanOrEqual(bumped.maxFeePerGas)
      expect(bumped.maxFeePerGas * 10n).toBeGreaterThanOrEqual(waiting.maxFeePerGas * 11n)
      expect(bumped.maxPriorityFeePerGas * 10n).toBeGreaterThanOrEqual(waiting.maxPriorityFeePerGas * 11n)
    }),
  )
})

test('a market that rose further is followed', () => {
  const waiting = { maxFeePerGas: 80n, maxPriorityFeePerGas: 8n }
  const market = { maxFeePerGas: 200n, maxPriorityFeePerGas: 5n }
  expect(bumpFees(waiting, market, 1_000n)).toEqual({ maxFeePerGas: 200n, maxPriorityFeePerGas: 9n })
  expect(bumpFees(waiting, market, 150n)).toEqual({ maxFeePerGas: 150n, maxPriorityFeePerGas: 9n })
  expect(bumpFees(waiting, market, 89n)).toBeUndefined()
})

test.each([
  ['already known', 'taken'],
  ['transaction already imported', 'taken'],
  ['Known transaction', 'taken'],
  ['nonce too low: next nonce 5, tx nonce 4', 'nonce_used'],
  ['OldNonce', 'nonce_used'],
  ['replacement transaction underpriced', 'underpriced'],
  ['max fee per gas less than block base fee: address 0x, maxFeePerGas: 1', 'underpriced'],
  ['insufficient funds for gas * price + value: balance 0', 'no_funds'],
  ['Upfront cost exceeds account balance', 'no_funds'],
])('a node that says %j is understood', async (words, expected) => {
  expect(await broadcast(refusing(words), '0x02')).toBe(expected)
})

test('what a node says otherwise, or does not say, is thrown', async () => {
  await expect(broadcast(refusing('exceeds block gas limit'), '0x02')).rejects.toThrow('exceeds block gas limit')
  await expect(broadcast(refusing('HTTP request failed.'), '0x02')).rejects.toThrow('HTTP request failed.')
  expect(await broadcast({ sendRawTransaction: async () => '0x' }, '0x02')).toBe('taken')
})

function refusing(words: string) {
  return {
    async sendRawTransaction(): Promise<`0x${string}`> {
      throw new ViemError(words)
    },
  }
}
