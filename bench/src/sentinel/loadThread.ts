import { setTimeout as delay } from 'node:timers/promises'
import { parentPort, workerData } from 'node:worker_threads'
import { type CallerOptions, createCaller } from './createCaller.ts'
import type { OpenGrant } from './openGrants.ts'

// A thread that calls in turn under all grants, `rate` a second, whether or not the answers keep up, until it is told to end.

export type LoadData = {
  caller: CallerOptions
  grants: readonly OpenGrant[]
  /** Calls a second of all grants together. */
  rate: number
}

export type LoadReport = {
  /** Calls that were sent. */
  perSecond: number
  /** Answered otherwise than 200, or not at all. */
  refusals: number
}

const tickMs = 10
/** In flight at once; above that, calls are left out. */
const mostCalls = 2_000

const { caller: options, grants, rate } = workerData as LoadData
const port = parentPort
if (!port) throw new Error('This is the program of a worker thread.')
const caller = await createCaller(options)
const startedAt = performance.now()
const waiting = new Set<Promise<void>>()
let sent = 0
let refusals = 0
let isEnding = false
port.once('message', () => {
  isEnding = true
})

while (!isEnding) {
  const due = Math.floor(((performance.now() - startedAt) / 1_000) * rate)
  for (; sent < due && waiting.size < mostCalls; sent++) {
    const grant = grants[sent % grants.length]
    if (!grant) break
    const call = caller
      .call(grant)
      .then(
        (status) => status === 200,
        () => false,
      )
      .then((isServed) => {
        if (!isServed) refusals++
        waiting.delete(call)
      })
    waiting.add(call)
  }
  await delay(tickMs)
}
const seconds = (performance.now() - startedAt) / 1_000
await Promise.all(waiting)
caller.close()
const report: LoadReport = { perSecond: Math.round(sent / seconds), refusals }
port.postMessage(report)
