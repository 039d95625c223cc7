import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { createMemoryStore, type PayingFetch } from '../src/index.ts'
import { startTestGateway } from '../src/testing/startTestGateway.ts'
import { createTestGrant } from '../src/testing/testGrant.ts'

type StartAgent = (
  ...options: [grant: unknown, key: string, store: unknown, ask: (question: string) => unknown]
) => PayingFetch

test('the agent of docs/agents.md pays small amounts by itself, asks about larger ones, and keeps to its limits', async () => {
  const document = await readFile(new URL('../../docs/agents.md', import.meta.url), 'utf8')
  const [, sample = ''] = /^```ts\n([\s\S]*?)^```/m.exec(document) ?? []
  const folder = await mkdtemp(fileURLToPath(new URL('./.doc-', import.meta.url)))
  const { grant, privateKey, sessionKey } = createTestGrant()
  const gateway = await startTestGateway({ grant, sessionKey })
  try {
    await writeFile(join(folder, 'agent.ts'), sample)
    const { startAgent } = (await import(/* @vite-ignore */ join(folder, 'agent.ts'))) as { startAgent: StartAgent }
    const asked: string[] = []
    let answer = true
    const payingFetch = startAgent(grant, privateKey, createMemoryStore(), async (question) => {
      asked.push(question)
      return answer
    })
    expect((await payingFetch(`${gateway.url}/paid/a`)).status).toBe(200)
    expect(asked).toEqual([])
    gateway.price = 400_000n
    expect((await payingFetch(`${gateway.url}/paid/b`)).status).toBe(200)
    expect(asked).toEqual([`Pay 400000 base units for ${gateway.url}/paid/b?`])
    answer = false
    await expect(payingFetch(`${gateway.url}/paid/c`)).rejects.toMatchObject({ code: 'agent.declined' })
    answer = true
    gateway.price = 600_000n
    await expect(payingFetch(`${gateway.url}/paid/d`)).rejects.toMatchObject({ limit: 'maxPerCall' })
    expect(gateway.charged).toBe(410_000n)
    expect(payingFetch.remainingAtomic()).toBe(4_590_000n)
  } finally {
    await gateway.close()
    await rm(folder, { recursive: true, force: true })
  }
})
