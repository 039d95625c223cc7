import { expect, test } from 'vitest'
import { createMeterRedis } from './createMeterRedis.ts'
import { createRedisMeter } from './redis.ts'
import { accountStateOf, channelStateOf, createPayer, grantStateOf, useOf } from './testing/builders.ts'
import { startTestRedis } from './testing/startTestRedis.ts'

const grants = 200
const payeesPerGrant = 3
const signature = `0x${'51'.repeat(65)}` as const

test('a grant takes at most 2 KB of Redis with its account, 1 KB for each more payee, and nothing once it has ended', {
  timeout: 120_000,
}, async () => {
  // As in ops/compose/redis.conf.
  const server = await startTestRedis(['--hash-max-listpack-value', '256'])
  const redis = createMeterRedis(server.url, 10_000)
  const meter = createRedisMeter({ redis, instance: 'one', requestRetentionMs: 1_000, endedRetentionMs: 1 })
  try {
    await meter.ping()
    const payers = Array.from({ length: grants }, createPayer)
    const others = Array.from({ length: payeesPerGrant - 1 }, () => createPayer().payee)
    const charge = async (payer: (typeof payers)[number], payee = payer.payee) => {
      const use = useOf({ ...payer, payee }, { event: { service: 'svc_weather', merchant: 'mer_acme', signature } })
      expect(await meter.charge(use)).toMatchObject({ ok: true })
    }
    const end = Math.floor(Date.now() / 1_000) + 1_000_000
    await Promise.all(
      payers.map(async (payer) => {
        await meter.mirror(accountStateOf(payer, { grants: [grantStateOf(payer, { validUntil: end })] }))
        await charge(payer)
      }),
    )
    const perGrant = async () => {
      const keys = (await redis.keys('*')).filter((key) => /:(grant|account):/.test(key))
      const bytes = await Promise.all(keys.map((key) => redis.memory('USAGE', key)))
      return bytes.reduce<number>((sum, one) => sum + (one ?? 0), 0) / grants
    }
    const one = await perGrant()
    expect(one).toBeLessThan(2_048)
    for (const payee of others) await Promise.all(payers.map((payer) => charge(payer, payee)))
    expect(((await perGrant()) - one) / others.length).toBeLessThan(1_024)

    await Promise.all(
      payers.map((payer) => {
        const channels = [payer.payee, ...others].map((payee) => {
          return channelStateOf({ payee }, { authorized: 1_000n, charged: 10n, settled: 10n })
        })
        return meter.mirror(accountStateOf(payer, { grants: [grantStateOf(payer, { status: 'revoked', channels })] }))
      }),
    )
    await expect.poll(perGrant, { timeout: 60_000, interval: 100 }).toBe(0)
  } finally {
    await meter.close()
    redis.disconnect()
    await server.remove()
  }
})
