import type { Context, ExitCode } from '../context.ts'
import { formatTable } from '../formatTable.ts'
import { settlementsSchema } from '../schemas.ts'

export type ListSettlementsOptions = {
  /** `waiting`: dead and not written off. `all`: every state. */
  state: string
  reason?: string | undefined
  grant?: string | undefined
  limit?: string | undefined
  cursor?: string | undefined
}

/** Settlements, newest first; without options those that wait for an operator. */
export async function listSettlements(
  { client, json, print }: Context,
  { state, reason, grant, limit, cursor }: ListSettlementsOptions,
): Promise<ExitCode> {
  const states: Record<string, Record<string, string>> = {
    waiting: { state: 'dead', writtenOff: 'false' },
    'written-off': { state: 'dead', writtenOff: 'true' },
    all: {},
  }
  const query = new URLSearchParams({
    ...(states[state] ?? { state }),
    ...(reason !== undefined && { reason }),
    ...(grant !== undefined && { grantId: grant }),
    ...(limit !== undefined && { limit }),
    ...(cursor !== undefined && { cursor }),
  })
  const answer = await client.get(`/settlements?${query}`, settlementsSchema)
  const { settlements, nextCursor } = answer
  if (json) print(JSON.stringify(answer, null, 2))
  else if (settlements.length === 0) print(state === 'waiting' ? 'No settlement waits for an operator.' : 'None.')
  else {
    const rows = settlements.map((one) => [
      one.id,
      one.writtenOffAt ? 'written off' : one.state,
      one.failureReason,
      one.errorCode,
      `${one.attempts}`,
      one.grantId,
      one.updatedAt,
    ])
    print(formatTable(['id', 'state', 'reason', 'error', 'attempts', 'grant', 'changed'], rows))
    if (nextCursor !== undefined) print(`There are more: --cursor ${nextCursor}`)
  }
  return 0
}
