import { pino } from 'pino'
import { expect, test } from 'vitest'
import { createRecorder } from './createRecorder.ts'

const logger = pino({ level: 'silent' })
const soon = { timeout: 60_000, interval: 2 }

function arrange(record: (found: number) => Promise<void>, maxWaiting?: number) {
  const isOutage = (error: unknown) => error instanceof Error && error.message === 'Postgres is gone.'
  const recorder = createRecorder<number>({ record, isOutage, logger, maxWaiting, retryMs: 1 })
  const stopping = new AbortController()
  const running = recorder.run(stopping.signal)
  const stop = () => {
    stopping.abort()
    return running
  }
  return { recorder, stop }
}

test('everything is recorded once and in its order, and a record that fails is made again', async () => {
  const recorded: number[] = []
  let tries = 0
  const { recorder, stop } = arrange(async (found) => {
    tries += 1
    if (tries % 3 === 0) throw new Error('Postgres is gone.')
    recorded.push(found)
  })
  await recorder.add([1, 2, 3])
  await recorder.add([4, 5])
  await expect.poll(() => recorder.waiting, soon).toBe(0)
  expect(recorded).toEqual([1, 2, 3, 4, 5])
  await stop()
})

test('who adds waits for no record while there is room, and waits when there is none', async () => {
  const finishers: (() => void)[] = []
  const finish = () => finishers.shift()?.()
  const { recorder, stop } = arrange(() => new Promise((resolve) => finishers.push(resolve)), 2)
  await recorder.add([1, 2])
  await expect.poll(() => finishers.length, soon).toBe(1)
  let isAdded = false
  const adding = recorder.add([3]).then(() => {
    isAdded = true
  })
  expect(recorder.waiting).toBe(3)
  await new Promise((resolve) => setTimeout(resolve, 20))
  expect(isAdded).toBe(false)
  finish()
  await adding
  expect(recorder.waiting).toBe(2)
  const stopped = stop()
  await expect
    .poll(() => {
      finish()
      return recorder.waiting
    }, soon)
    .toBe(0)
  await stopped
})

test('what alone cannot be recorded is given up, and holds up nothing for good', async () => {
  const recorded: number[] = []
  const { recorder, stop } = arrange(async (found) => {
    if (found === 1) throw new Error('It breaks a constraint.')
    recorded.push(found)
  })
  await recorder.add([1, 2])
  await expect.poll(() => recorder.waiting, soon).toBe(0)
  expect(recorded).toEqual([2])
  await stop()
})

test('at its end it records what is left, and gives up what cannot be recorded', async () => {
  const recorded: number[] = []
  const works = arrange(async (found) => void recorded.push(found))
  await works.recorder.add([1, 2])
  await works.stop()
  expect(recorded).toEqual([1, 2])
  const fails = arrange(() => Promise.reject(new Error('Postgres is gone.')))
  await fails.recorder.add([1])
  await fails.stop()
  expect(fails.recorder.waiting).toBe(1)
})
