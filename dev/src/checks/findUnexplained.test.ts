import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { findUnexplained } from './findUnexplained.ts'
import { repositoryRoot } from './runProgram.ts'

test('a switched-off finding needs words above it', () => {
  const source = [
    'uint256 a;',
    '// slither-disable-next-line timestamp', // 2: nothing above
    'f();',
    '// The clock is what a window is about.',
    '// forge-lint: disable-next-item(block-timestamp)',
    '// slither-disable-next-line timestamp',
    'g();',
    '',
    '// forge-lint: disable-next-item(block-timestamp)', // 9: an empty line above
    'h(); // forge-lint: disable-line(unsafe-typecast)', // 10: beside code, with no room for words
  ].join('\n')
  expect(findUnexplained(source)).toEqual([2, 9, 10])
})

test('every finding that a contract or its tests switch off is explained beside it', async () => {
  const files = ['contracts/src', 'contracts/test', 'contracts/script'].map(async (directory) => {
    const names = await readdir(join(repositoryRoot, directory), { recursive: true })
    return names.filter((name) => name.endsWith('.sol')).map((name) => join(directory, name))
  })
  const unexplained: string[] = []
  for (const file of (await Promise.all(files)).flat()) {
    const lines = findUnexplained(await readFile(join(repositoryRoot, file), 'utf8'))
    unexplained.push(...lines.map((line) => `${file}:${line}`))
  }
  expect(unexplained).toEqual([])
})
