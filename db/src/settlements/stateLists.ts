import { type SQL, sql } from 'drizzle-orm'
import { laneStates, openStates } from './settlement.ts'

// As literals, not parameters: so Postgres sees that a partial index fits.

export const openStatesSql: SQL = listOf(openStates)

export const laneStatesSql: SQL = listOf(laneStates)

function listOf(states: readonly string[]): SQL {
  return sql.raw(`(${states.map((state) => `'${state}'`).join(', ')})`)
}
