import { readdir } from 'node:fs/promises'
import { join } from 'node:path'

/** What installing, building and git leave behind. */
const skipped = new Set(['node_modules', 'dist', '.git'])

/** Files below `root`, relative to it with `/`. Links are not followed. */
export async function listFiles(root: string, folder = ''): Promise<string[]> {
  const entries = await readdir(join(root, folder), { withFileTypes: true })
  const lists = entries.map(async (entry) => {
    const path = folder === '' ? entry.name : `${folder}/${entry.name}`
    if (entry.isFile()) return [path]
    return entry.isDirectory() && !skipped.has(entry.name) ? listFiles(root, path) : []
  })
  return (await Promise.all(lists)).flat()
}
