import { AsyncLocalStorage } from 'node:async_hooks'
import type { TraceContext } from './traceContext.ts'

/** What the code that runs now belongs to. */
export type TraceScope = {
  context: TraceContext
  /** In every line that is logged meanwhile: `traceId`, and what the caller gave. */
  fields: Readonly<Record<string, string>>
}

const storage = new AsyncLocalStorage<TraceScope>()

/**
 * Runs `work` as a part of a trace: its log lines carry the trace id and `fields`, `currentTrace` knows it. Scopes inside
 * scopes add their fields. Not for the path of a paid call, where async context costs more than passing it on.
 */
export function runInTrace<T>(context: TraceContext, fields: Readonly<Record<string, string>>, work: () => T): T {
  const all = { ...storage.getStore()?.fields, ...fields, traceId: context.traceId }
  return storage.run({ context, fields: all }, work)
}

/** The scope of the code that runs now; undefined outside of `runInTrace`. */
export function currentTrace(): TraceScope | undefined {
  return storage.getStore()
}
