import { existsSync } from 'node:fs'
import { expect, test } from 'vitest'
import { createTempDir } from '../processes/createTempDir.ts'
import { startStack } from './stack.ts'

const timeoutMs = 120_000

test('without Redis everything starts, answers, and is gone after stop()', { timeout: timeoutMs }, async () => {
  const stack = await startStack({ withRedis: false })
  const services = [stack.gateway, stack.paymaster, stack.settlement]
  try {
    expect(stack.redis).toBeUndefined()
    for (const { url } of services) {
      for (const path of ['/health', '/ready', '/metrics']) {
        const response = await fetch(`${url}${path}`)
        expect(`${url}${path} ${response.status}`).toBe(`${url}${path} 200`)
      }
    }
  } finally {
    await stack.stop()
  }
  for (const { url } of [...services, stack.chain, stack.bundler]) {
    await expect(fetch(url)).rejects.toMatchObject({ cause: { code: 'ECONNREFUSED' } })
  }
  for (const { process } of services) expect(await process.exited).toEqual({ code: 0, signal: null })
  expect(existsSync(stack.logDirectory)).toBe(false)
})

test('when a service does not start, the error says why, and nothing is left running', {
  timeout: timeoutMs,
}, async () => {
  const logs = await createTempDir('stack-test')
  const lines: string[] = []
  const failing = startStack({
    logDirectory: logs.path,
    log: (line) => lines.push(line),
    env: { gateway: { TOKEN: 'not an address' } },
  })
  await expect(failing).rejects.toThrow(/gateway ended with code 1[\s\S]*TOKEN/)
  expect(lines.join('\n')).toContain('bundler')
  await logs.remove()
})
