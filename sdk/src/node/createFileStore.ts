import { mkdir, open, readFile, rename } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Hex } from '@protocolbanks/stream-protocol'
import type { AgentStore } from '../agent/agentStore.ts'

/**
 * Remembers in a folder, one file a grant, readable by this user alone. A file is replaced as a whole, so that a crash
 * leaves the old one or the new one.
 *
 * @example createPayingFetch({ grant, sessionKey, store: createFileStore('./agent-state') })
 */
export function createFileStore(folder: string): AgentStore {
  const pathOf = (grantId: Hex) => join(folder, `${grantId}.json`)
  /** One after the other, also for agents that share this store one after another. */
  let writing: Promise<void> = Promise.resolve()
  return {
    async load(grantId) {
      try {
        return await readFile(pathOf(grantId), 'utf8')
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
        throw error
      }
    },
    save(grantId, state) {
      const earlier = writing.catch(() => undefined)
      writing = earlier.then(() => replace(pathOf(grantId), state))
      return writing
    },
  }
}

async function replace(path: string, state: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true })
  const file = await open(`${path}.new`, 'w', 0o600)
  try {
    await file.writeFile(state)
    await file.datasync()
  } finally {
    await file.close()
  }
  await rename(`${path}.new`, path)
}
