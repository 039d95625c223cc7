import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createTempDir, type TempDir } from '@protocolbanks/stream-dev'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { supervise } from './supervise.ts'

let directory: TempDir
beforeAll(async () => {
  directory = await createTempDir('supervise-test')
})
afterAll(() => directory.remove())

function start(name: string, script: string) {
  const logFile = join(directory.path, `${name}.log`)
  return supervise({ name, args: ['-e', script], env: {}, cwd: directory.path, logFile })
}
const logOf = (name: string) => readFile(join(directory.path, `${name}.log`), 'utf8')
const soon = { timeout: 60_000, interval: 50 }

test('what is killed starts again, the next time with what was added, and after that without', async () => {
  const one = await start('killed', 'console.log("at", process.env.CRASH_AT); setInterval(() => {}, 1000)')
  try {
    await expect.poll(() => logOf('killed'), soon).toBe('at undefined\n')
    await one.kill({ CRASH_AT: 'part.done:1' })
    await expect.poll(() => logOf('killed'), soon).toBe('at undefined\nat part.done:1\n')
    await one.kill()
    await expect.poll(() => logOf('killed'), soon).toBe('at undefined\nat part.done:1\nat undefined\n')
    expect(one.starts()).toBe(3)
    expect(one.endedAt()).toBeGreaterThan(0)
    expect(one.surprises).toEqual([])
  } finally {
    await one.stop()
  }
})

test('what ends by itself starts again, and who waits for that is told how it ended', async () => {
  const one = await start('ending', 'setTimeout(() => process.exit(3), 50)')
  try {
    expect(await one.untilEnded(60_000)).toEqual({ code: 3, signal: null })
    await expect.poll(one.starts, soon).toBeGreaterThan(2)
  } finally {
    await one.stop()
  }
})

test('waiting for an end that does not come is an error', async () => {
  const one = await start('living', 'setInterval(() => {}, 1000)')
  try {
    await expect(one.untilEnded(100)).rejects.toThrow('living did not end within 100 ms.')
  } finally {
    await one.stop()
  }
})
