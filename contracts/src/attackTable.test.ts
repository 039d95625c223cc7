import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'

const testFolder = fileURLToPath(new URL('../test/', import.meta.url))
const sources = readdirSync(testFolder, { recursive: true, encoding: 'utf8' }).filter((path) => path.endsWith('.t.sol'))
const table = namesIn(readFileSync(`${testFolder}attacks/README.md`, 'utf8'), /`(test\w+)`/g)

test('every test that the table of attacks names is there', () => {
  const existing = new Set(sources.flatMap(testsOf))
  expect(table.filter((name) => !existing.has(name))).toEqual([])
})

test('every test of an attack is in the table', () => {
  const attacks = sources.filter((path) => path.startsWith('attacks/')).flatMap(testsOf)
  expect(attacks.length).toBeGreaterThan(0)
  expect(attacks.filter((name) => !table.includes(name))).toEqual([])
})

function testsOf(path: string): string[] {
  return namesIn(readFileSync(`${testFolder}${path}`, 'utf8'), /function (test\w+)\(/g)
}

function namesIn(text: string, pattern: RegExp): string[] {
  return [...text.matchAll(pattern)].flatMap(([, name]) => name ?? [])
}
