import { readFileSync } from 'node:fs'

// Loaded into a service before its main.ts: the time that the process is told is off by the milliseconds in CLOCK_FILE,
// which may change at any moment. Timers and performance.now() go on as they do when an operator sets a machine's clock.

const lookEveryMs = 50
const RealDate = Date
const file = process.env.CLOCK_FILE ?? ''
let offsetMs = read()
setInterval(() => {
  offsetMs = read()
}, lookEveryMs).unref()

function read(): number {
  try {
    return Number(readFileSync(file, 'utf8')) || 0
  } catch {
    // Not written yet: nothing is off.
    return 0
  }
}

class SkewedDate extends RealDate {
  constructor(...args: unknown[]) {
    super(...((args.length === 0 ? [SkewedDate.now()] : args) as [number]))
  }
  static override now(): number {
    return RealDate.now() + offsetMs
  }
}
globalThis.Date = SkewedDate as DateConstructor
