import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { reaper } from './reaper.ts'

export type TempDir = {
  path: string
  remove(): Promise<void>
}

/** Creates a private temporary directory. It is gone after `remove()`, and at the latest when this process ends. */
export async function createTempDir(name: string): Promise<TempDir> {
  const path = await mkdtemp(join(tmpdir(), `stream-${name}-`))
  reaper.remove(path)
  return { path, remove: () => rm(path, { recursive: true, force: true }) }
}
