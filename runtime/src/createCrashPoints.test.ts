import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { createCrashPoints } from './createCrashPoints.ts'

/** A process of its own that passes the places one after the other and says so. */
function pass(places: string[], crashAt: string) {
  const program = `
    import { createCrashPoints } from ${JSON.stringify(fileURLToPath(new URL('./createCrashPoints.ts', import.meta.url)))}
    const crashPoint = createCrashPoints(${JSON.stringify(crashAt)})
    process.on('exit', () => console.log('cleaned up'))
    for (const place of ${JSON.stringify(places)}) { crashPoint(place); console.log(place) }`
  const { signal, stdout, stderr } = spawnSync(
    process.execPath,
    ['--import', import.meta.resolve('tsx'), '--input-type=module', '--eval', program],
    { encoding: 'utf8' },
  )
  return { signal, passed: stdout.trim().split('\n'), stderr }
}

test('a process dies by SIGKILL at the named place: no line after it runs, nothing is cleaned up', () => {
  const { signal, passed, stderr } = pass(['part.begun', 'part.done', 'part.begun'], 'part.done')
  expect({ signal, passed }).toEqual({ signal: 'SIGKILL', passed: ['part.begun'] })
  expect(stderr).toContain('part.done')
})

test('a count names the time at which it dies, each place has its own', () => {
  const places = ['part.begun', 'part.done', 'part.begun', 'part.done', 'part.begun']
  expect(pass(places, 'part.done:9,part.begun:3').passed).toEqual(places.slice(0, 4))
})

test('without names nothing happens anywhere', () => {
  expect(() => createCrashPoints(undefined)('part.done')).not.toThrow()
})

test.each(['', 'part', 'part.done:0', 'part.done:', 'Part.Done', 'part.done,'])('%j is refused', (names) => {
  expect(() => createCrashPoints(names)).toThrow(/is no crash point/)
})
