import { expect, test } from 'vitest'
import { TokenDecimalsError, TokenDecimalsUnknownError, tokenDecimals } from './tokenDecimals.ts'

const token = '0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913'
const warnings: unknown[] = []
const logger = { warn: (...what: unknown[]) => void warnings.push(what) }
const answers = (decimals: number) => ({ readContract: async () => decimals }) as never
const silent = {
  async readContract() {
    throw new Error('no answer')
  },
} as never

test('the chain says how many decimals a token has, and a merchant who says another number is told', async () => {
  expect(await tokenDecimals(answers(18), { token, logger })).toBe(18)
  expect(await tokenDecimals(answers(6), { token, expected: 6, logger })).toBe(6)
  const differs = tokenDecimals(answers(18), { token, expected: 6, logger })
  await expect(differs).rejects.toBeInstanceOf(TokenDecimalsError)
  await expect(differs).rejects.toThrow('tokenDecimals: 6, on the chain: 18')
})

test('while the chain does not answer, what the merchant says counts; without that there is no price', async () => {
  expect(await tokenDecimals(silent, { token, expected: 8, logger })).toBe(8)
  expect(warnings).toHaveLength(1)
  await expect(tokenDecimals(silent, { token, logger })).rejects.toBeInstanceOf(TokenDecimalsUnknownError)
})
