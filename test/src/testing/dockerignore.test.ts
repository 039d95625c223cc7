import { expect, test } from 'vitest'
import { readDockerignore } from './dockerignore.ts'

test('the last pattern that matches a path, or a folder above it, decides', () => {
  const isIgnored = readDockerignore('# comment\n*\n!src\n!ops/image\n**/node_modules\n**/*.test.ts\n')
  const kept = ['src', 'src/a.ts', 'src/deep/b.ts', 'ops/image/run', 'src/test.ts']
  const out = ['a', 'ops', 'ops/compose/x', 'src/node_modules/y/z.js', 'src/deep/c.test.ts', 'node_modules', 'srcs/a']
  expect(kept.filter(isIgnored)).toEqual([])
  expect(out.filter((path) => !isIgnored(path))).toEqual([])
})
