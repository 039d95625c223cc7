import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { createTempDir } from '../processes/createTempDir.ts'
import { runProgram } from './runProgram.ts'

test("forge's failure is a failure, though the script of its npm package ends with 0", async () => {
  const directory = await createTempDir('forge')
  const file = join(directory.path, 'Untidy.sol')
  await writeFile(file, 'contract   Untidy{}\n')
  const { exitCode, stdout } = await runProgram('forge', ['fmt', '--check', file], { output: 'all' })
  await directory.remove()
  expect(exitCode).toBe(1)
  expect(stdout).toContain('contract Untidy {}')
})
