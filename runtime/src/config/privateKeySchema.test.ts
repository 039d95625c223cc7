import { expect, test } from 'vitest'
import { privateKeySchema } from './privateKeySchema.ts'

const order = 'fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141'

test.each([`0x${'0'.repeat(63)}1`, `0x${order.slice(0, -1)}0`, `0x${'Ab'.repeat(32)}`])(
  '%s is a private key',
  (key) => {
    expect(privateKeySchema.parse(key)).toBe(key)
  },
)

test.each(['', 'ab'.repeat(32), `0x${'0'.repeat(64)}`, `0x${order}`, `0x${'ab'.repeat(31)}`, `0x${'xy'.repeat(32)}`])(
  '%j is none, and the error does not show it',
  (text) => {
    const { error } = privateKeySchema.safeParse(text)
    expect(error?.issues[0]?.message).toBe('must be a private key: 32 bytes of hex')
    if (text) expect(error?.message).not.toContain(text)
  },
)
