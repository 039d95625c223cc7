import { readFile } from 'node:fs/promises'
import { connect } from 'node:net'

/** Says whether a started program can be used. Must answer within a second or so; is asked again until it says yes. */
export type ReadyCheck = (process: { logFile: string }) => Promise<boolean>

/** Ready when GET `url` answers 2xx. */
export function readyWhenHttpOk(url: string): ReadyCheck {
  return async () => {
    try {
      const response = await fetch(url, { signal: AbortSignal.timeout(1_000) })
      await response.body?.cancel()
      return response.ok
    } catch {
      return false
    }
  }
}

/** Ready when a JSON-RPC server at `url` answers `method` with a result. */
export function readyWhenRpcAnswers(url: string, method: string): ReadyCheck {
  return async () => {
    try {
      const response = await fetch(url, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ jsonrpc: '2.0', id: 1, method, params: [] }),
        signal: AbortSignal.timeout(1_000),
      })
      const answer: unknown = await response.json()
      return typeof answer === 'object' && answer !== null && 'result' in answer
    } catch {
      return false
    }
  }
}

/** Ready when the program has logged `text`. */
export function readyWhenLogged(text: string): ReadyCheck {
  return async ({ logFile }) => (await readFile(logFile, 'utf8')).includes(text)
}

/** Ready when something listens at 127.0.0.1:`port`. */
export function readyWhenListening(port: number): ReadyCheck {
  return () =>
    new Promise((resolve) => {
      const socket = connect({ port, host: '127.0.0.1', timeout: 1_000 })
      const answer = (isReady: boolean) => {
        socket.destroy()
        resolve(isReady)
      }
      socket.once('connect', () => answer(true))
      socket.once('error', () => answer(false))
      socket.once('timeout', () => answer(false))
    })
}
