import { pino } from 'pino'
import { expect, test } from 'vitest'
import { createRefuseAtOnce } from './refuseAtOnce.ts'

const account = '0x00000000000000000000000000000000000000aa'
const grantIdOf = (number: number) => `0x${number.toString(16).padStart(64, '0')}` as const

function arrange(answer: (url: string) => Response) {
  const state = { nowMs: 1_000_000 }
  const asked: { url: string; grants: number }[] = []
  const { refuse } = createRefuseAtOnce({
    gatewayUrls: ['http://one.test', 'http://two.test'],
    apiKey: 'operator',
    timeoutMs: 1_000,
    clock: () => state.nowMs,
    logger: pino({ level: 'silent' }),
    fetch: async (url, init) => {
      const body = JSON.parse(String(init?.body)) as { grants: unknown[] }
      asked.push({ url: String(url), grants: body.grants.length })
      return answer(String(url))
    },
  })
  return { refuse, asked, state }
}

const done = () => new Response(null, { status: 204 })

test('a grant is refused once while it is found again and again, and anew after a while', async () => {
  const { refuse, asked, state } = arrange(done)
  const grant = { account, grantId: grantIdOf(1) } as const
  await refuse([grant, grant])
  await refuse([grant])
  expect(asked).toEqual([{ url: 'http://one.test/api/usage/refusals', grants: 1 }])
  state.nowMs += 3_000
  await refuse([grant, { account, grantId: grantIdOf(2) }])
  expect(asked.at(-1)?.grants).toBe(2)
})

test('a gateway that does not do it is passed over, and when none does the stop goes the whole way', async () => {
  const { refuse, asked } = arrange(() => new Response(null, { status: 503 }))
  await refuse([{ account, grantId: grantIdOf(1) }])
  expect(asked.map(({ url }) => new URL(url).host)).toEqual(['one.test', 'two.test'])
})

test('any number is sent in parts', async () => {
  const { refuse, asked } = arrange(done)
  await refuse(Array.from({ length: 250 }, (_, number) => ({ account, grantId: grantIdOf(number) })))
  expect(asked.map(({ grants }) => grants)).toEqual([100, 100, 50])
})
