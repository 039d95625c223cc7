import type { Client } from './createClient.ts'

/** What a command works with. */
export type Context = {
  client: Client
  /** Whether to print JSON, one object, instead of tables. */
  json: boolean
  print(text: string): void
  clock(): number
}

/** How a command ended: 0 done, 1 the books differ. Everything that goes wrong is thrown. */
export type ExitCode = 0 | 1
