import { writeSync } from 'node:fs'

/** `settlement.recorded` or `settlement.recorded:3`: at the third time it is reached. */
const pointPattern = /^([a-z][a-z_]*(?:\.[a-z][a-z_]*)+)(?::([1-9]\d{0,8}))?$/

/**
 * Places in the code where a test wants this process to die as if its machine had lost power: no clean-up, no drain.
 * `names` is one place or several with commas between them. Without any, nothing happens at any place.
 *
 * @example
 * const crashPoint = createCrashPoints(config.CRASH_AT) // CRASH_AT=settlement.recorded:2
 * crashPoint('settlement.recorded')
 * @throws when a name is not one
 */
export function createCrashPoints(names: string | undefined): (name: string) => void {
  if (names === undefined) return () => {}
  const left = new Map(names.split(',').map(parsePoint))
  return (name) => {
    const count = left.get(name)
    if (count === undefined) return
    left.set(name, count - 1)
    if (count > 1) return
    // At once, because nothing is flushed any more.
    writeSync(
      process.stderr.fd,
      `${JSON.stringify({ level: 'fatal', crashPoint: name, msg: 'crash point reached' })}\n`,
    )
    process.kill(process.pid, 'SIGKILL')
    // The signal is on its way; not one more line of the caller runs.
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)
  }
}

/** Whether `createCrashPoints` takes it. */
export function areCrashPoints(names: string): boolean {
  return names.split(',').every((name) => pointPattern.test(name))
}

function parsePoint(text: string): [name: string, count: number] {
  const [, name, count = '1'] = pointPattern.exec(text) ?? []
  if (name === undefined) throw new Error(`"${text}" is no crash point. Write it as \`part.step\` or \`part.step:3\`.`)
  return [name, Number(count)]
}
