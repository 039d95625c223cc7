import { readdir, readFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { refusals } from '../payment/refusals.ts'

const sources = new URL('../', import.meta.url)

test('docs/errors.md explains every code that the gateway answers, at the anchor that the answer links to', async () => {
  const document = await readFile(new URL('../../docs/errors.md', sources), 'utf8')
  const missing = [...(await codesOfSources()), ...Object.keys(refusals)].filter(
    (code) => !document.includes(`<a id="${code.replaceAll(/[._]/g, '-')}"></a>\`${code}\``),
  )
  expect(missing).toEqual([])
})

/** Codes that are passed to `problem` or ApiRefusal, or kept in a constant before. */
async function codesOfSources(): Promise<Set<string>> {
  const codes = new Set<string>()
  for (const file of await readdir(sources, { recursive: true })) {
    if (!file.endsWith('.ts') || file.endsWith('.test.ts')) continue
    const text = await readFile(new URL(file, sources), 'utf8')
    for (const [, code] of text.matchAll(/(?:\(\s*\d{3},\s*|code(?:: string)? = )'([a-z_]+(?:\.[a-z_]+)*)'/g)) {
      if (code && code !== 'meter.usage') codes.add(code)
    }
  }
  expect(codes.size).toBeGreaterThan(20)
  return codes
}
