import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { repositoryRoot } from './standardInput.ts'

const tests = join(repositoryRoot, 'contracts/test')
const solidity = readdirSync(tests, { recursive: true, encoding: 'utf8' })
  .filter((path) => path.endsWith('.sol'))
  .map((path) => readFileSync(join(tests, path), 'utf8'))
  .join('\n')
const document = readFileSync(join(repositoryRoot, 'docs/security.md'), 'utf8')

test('every test that docs/security.md names as a proof is there', () => {
  const named = [...document.matchAll(/`(test(?:Fuzz)?_\w+)`/g)].flatMap(([, name]) => name ?? [])
  expect(named.length).toBeGreaterThan(20)
  expect(named.filter((name) => !solidity.includes(`function ${name}(`))).toEqual([])
})

test('every invariant that docs/security.md names is checked', () => {
  const [, section = ''] = document.match(/## Invariants\n([\s\S]*?)\n## /) ?? []
  const named = [...section.matchAll(/\|\s*`(\w+)`\s*\|/g)].flatMap(([, name]) => name ?? [])
  expect(named.length).toBeGreaterThan(5)
  expect(named.filter((name) => !solidity.includes(`function ${name}(`))).toEqual([])
})
