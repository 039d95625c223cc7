import { expect, test } from 'vitest'
import { readStart } from './readStart.ts'

/** Chunks of 10 bytes, made when they are asked for. */
function chunks(count: number) {
  let made = 0
  let cancelled: unknown
  const body = new ReadableStream<Uint8Array>(
    {
      pull(controller) {
        if (made === count) controller.close()
        else controller.enqueue(new Uint8Array(10).fill(made++))
      },
      cancel(reason) {
        cancelled = reason
      },
    },
    { highWaterMark: 0 },
  )
  return { body, made: () => made, cancelled: () => cancelled }
}

test('a body up to the bound is read whole', async () => {
  const read = await readStart(chunks(3).body, 30)
  expect('whole' in read && [...read.whole]).toEqual([0, 1, 2].flatMap((chunk) => Array(10).fill(chunk)))
})

test('of a longer one no more is read than the bound and a chunk, and it streams on from its beginning', async () => {
  const { body, made } = chunks(1_000)
  const read = await readStart(body, 30)
  if (!('stream' in read)) throw new Error('It was read whole.')
  expect(made()).toBe(4)
  const reader = read.stream.getReader()
  const passed: number[] = []
  while (passed.length < 6) passed.push((await reader.read()).value?.[0] ?? -1)
  expect([passed, made()]).toEqual([[0, 1, 2, 3, 4, 5], 6])
  let rest = 0
  for (let next = await reader.read(); !next.done; next = await reader.read()) rest += next.value.byteLength
  expect(rest).toBe(9_940)
})

test('who leaves a longer one ends it, and one that breaks breaks', async () => {
  const { body, cancelled } = chunks(1_000)
  const read = await readStart(body, 30)
  if (!('stream' in read)) throw new Error('It was read whole.')
  await read.stream.cancel('left')
  expect(cancelled()).toBe('left')
  const broken = new ReadableStream<Uint8Array>({
    start: (controller) => controller.error(new Error('It broke.')),
  })
  await expect(readStart(broken, 30)).rejects.toThrow('It broke.')
})
