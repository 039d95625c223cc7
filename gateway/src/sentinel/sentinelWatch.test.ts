import { expect, test } from 'vitest'
import { createSentinelWatch } from './sentinelWatch.ts'

function arrange({ heardAt, silentSeconds = 60 }: { heardAt?: Date; silentSeconds?: number } = {}) {
  let nowMs = Date.UTC(2026, 0, 1)
  let heard = heardAt
  let fails = false
  const watch = createSentinelWatch({
    async readHeartbeat() {
      if (fails) throw new Error('Postgres is gone.')
      return heard
    },
    clock: () => nowMs,
    silentSeconds,
  })
  return {
    watch,
    pass(ms: number) {
      nowMs += ms
    },
    hear() {
      heard = new Date(nowMs)
    },
    loseDatabase() {
      fails = true
    },
  }
}

test('a sentinel that was heard lately is worth no word, one that fell silent is', async () => {
  const { watch, pass, hear } = arrange()
  hear()
  await watch.refresh()
  pass(59_999)
  expect(watch.note()).toBe('ok')
  pass(1)
  expect(watch.note()).toBe('Not heard for 60 s: nobody watches what is spent, only the hard limits hold.')
  hear()
  await watch.refresh()
  expect(watch.note()).toBe('ok')
  expect(watch.silenceMs()).toBe(0)
})

test('where no sentinel ever was, the gateway says so after a while', async () => {
  const { watch, pass } = arrange()
  await watch.refresh()
  expect(watch.note()).toBe('ok')
  pass(60_000)
  expect(watch.note()).toMatch(/^Not heard for 60 s/)
})

test('while Postgres is gone what was heard counts, and its age grows', async () => {
  const { watch, pass, hear, loseDatabase } = arrange()
  hear()
  await watch.refresh()
  loseDatabase()
  pass(61_000)
  await expect(watch.refresh()).rejects.toThrow('gone')
  expect(watch.silenceMs()).toBe(61_000)
})

test('where none is expected nothing is missed', () => {
  const { watch, pass } = arrange({ silentSeconds: 0 })
  pass(3_600_000)
  expect(watch.note()).toBe('none is expected')
})
