import { createServer } from 'node:net'
import { expect, test, vi } from 'vitest'
import { freePort } from './freePort.ts'

test('fifty ports asked for at once are fifty different ports that can be listened on', async () => {
  const ports = await Promise.all(Array.from({ length: 50 }, () => freePort()))
  expect(new Set(ports).size).toBe(50)
  for (const port of ports) {
    const server = createServer()
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(port, '127.0.0.1', resolve)
    })
    await new Promise((resolve) => server.close(resolve))
  }
})

test('a preferred port that is taken is not given', async () => {
  const server = createServer()
  // Nobody else takes it when it is free again.
  const port = await freePort()
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
  expect(await freePort(port)).not.toBe(port)
  await new Promise((resolve) => server.close(resolve))
  expect(await freePort(port)).toBe(port)
})

test('a port that fetch refuses to ask is not given', async () => {
  // 10,080 first, then any.
  const random = vi.spyOn(Math, 'random').mockReturnValueOnce(0.008)
  try {
    expect(await freePort()).not.toBe(10_080)
    expect(random.mock.calls.length).toBeGreaterThan(1)
  } finally {
    random.mockRestore()
  }
})
