import { pino } from 'pino'
import { expect, test } from 'vitest'
import { createEmbeddedMeter } from '../meter/embedded.ts'
import { accountStateOf, createPayer, useOf } from '../meter/testing/builders.ts'
import { createRefuseAtOnce } from './refuseAtOnce.ts'

const logger = pino({ level: 'silent' })

test('a grant is refused from the answer on, and served again when nobody recorded why', async () => {
  const meter = createEmbeddedMeter({ clock: Date.now, instance: 'gateway-1' })
  const payer = createPayer()
  await meter.mirror(accountStateOf(payer))
  let looks = 0
  let look = () => {}
  const untilSeen = new Promise<void>((resolve) => {
    look = resolve
  })
  const refuse = createRefuseAtOnce({
    meter,
    logger,
    recordWithinMs: 20,
    async mirrorAccount() {
      await untilSeen
      looks++
      if (looks === 1) throw new Error('Postgres is gone.')
      await meter.mirror(accountStateOf(payer))
      return true
    },
  })
  await refuse([payer])
  expect(await meter.charge(useOf(payer))).toMatchObject({ ok: false, code: 'grant.frozen' })
  look()
  await expect.poll(async () => (await meter.charge(useOf(payer))).ok).toBe(true)
  expect(looks).toBe(2)
})

test('a grant that the meter does not know is no error', async () => {
  const meter = createEmbeddedMeter({ clock: Date.now, instance: 'gateway-1' })
  const refuse = createRefuseAtOnce({ meter, logger, mirrorAccount: async () => false })
  await refuse([createPayer()])
})
