import { mkdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { expect, test } from 'vitest'
import { createTempDir } from '../processes/createTempDir.ts'
import { lintContracts } from './lintContracts.ts'
import { repositoryRoot } from './runProgram.ts'

const config = `[profile.default]
src = "contracts/src"
test = "contracts/test"
solc = "${join(repositoryRoot, 'contracts/script/solc.cjs')}"
`

const narrowing = (comment: string) => `// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

contract Narrowing {
    function narrow(uint256 value) external pure returns (uint96) {
        ${comment}
        return uint96(value);
    }
}
`

async function lint(files: Record<string, string>) {
  const directory = await createTempDir('lint')
  for (const [path, contents] of Object.entries({ 'foundry.toml': config, ...files })) {
    await mkdir(dirname(join(directory.path, path)), { recursive: true })
    await writeFile(join(directory.path, path), contents)
  }
  const lines: string[] = []
  const result = await lintContracts((line) => lines.push(line), directory.path)
  await directory.remove()
  return { ...result, output: lines.join('\n') }
}

test('a finding in the sources fails and is shown with its place', async () => {
  const { exitCode, output } = await lint({ 'contracts/src/Narrowing.sol': narrowing('//') })
  expect(exitCode).toBe(1)
  expect(output).toContain('unsafe-typecast')
  expect(output).toContain('contracts/src/Narrowing.sol:7')
  expect(output).toContain('1 findings.')
})

test('a finding that is switched off where it stands passes, and so does a cast of a test', async () => {
  const explained = narrowing('// forge-lint: disable-next-line(unsafe-typecast)')
  const files = { 'contracts/src/Narrowing.sol': explained, 'contracts/test/Narrowing.sol': narrowing('//') }
  expect(await lint(files)).toEqual({ exitCode: 0, output: '' })
})

test('sources that do not compile fail', async () => {
  const { exitCode, output } = await lint({ 'contracts/src/Broken.sol': 'pragma solidity 0.8.30; contract {' })
  expect(exitCode).toBe(1)
  expect(output).toContain('contracts/src/Broken.sol')
})
