import { cpus } from 'node:os'

/** What it was measured on. */
export function machine(): string {
  const [cpu] = cpus()
  return `${cpus().length} x ${cpu?.model ?? 'unknown CPU'}, Node ${process.version}, load generator and server share them`
}
