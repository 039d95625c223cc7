import { AsyncLocalStorage } from 'node:async_hooks'

/** In whose name a request changes something. */
export type ChangeContext = {
  /** As the audit writes it down: an API key's id, `operator`, or an owner. */
  actor: string
  /** The request's name, as its answer carries it. */
  requestId: string
  /** Of a request with an idempotency key: which try of it; see idempotency/idempotencyKeys.ts. */
  attempt?: string | undefined
}

const storage = new AsyncLocalStorage<ChangeContext>()

/**
 * Every transaction that begins within `run` says in whose name it is: what it changes is written to the audit by the
 * database itself, with the request's name. See migration 0026.
 */
export function withChangeContext<T>(context: ChangeContext, run: () => T): T {
  return storage.run(context, run)
}

/** Undefined outside of a request that may change something. */
export function changeContext(): ChangeContext | undefined {
  return storage.getStore()
}
