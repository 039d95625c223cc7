import type { Context, ExitCode } from '../context.ts'
import { formatTable } from '../formatTable.ts'
import { incidentsSchema } from '../schemas.ts'

export type ListIncidentsOptions = {
  /** `all`: every state. */
  state: string
  severity?: string | undefined
  grant?: string | undefined
  limit?: string | undefined
  cursor?: string | undefined
}

/** What the sentinel found, newest first; without options what nobody has seen. */
export async function listIncidents(
  { client, json, print }: Context,
  { state, severity, grant, limit, cursor }: ListIncidentsOptions,
): Promise<ExitCode> {
  const query = new URLSearchParams({
    ...(state !== 'all' && { state }),
    ...(severity !== undefined && { severity }),
    ...(grant !== undefined && { grantId: grant }),
    ...(limit !== undefined && { limit }),
    ...(cursor !== undefined && { cursor }),
  })
  const answer = await client.get(`/incidents?${query}`, incidentsSchema)
  const { incidents, nextCursor } = answer
  if (json) print(JSON.stringify(answer, null, 2))
  else if (incidents.length === 0) print('None.')
  else {
    const rows = incidents.map((one) => [
      one.id,
      one.state,
      one.severity,
      one.action,
      one.rule,
      one.grantId,
      one.findings === null ? null : `${one.findings}`,
      one.openedAt,
    ])
    print(formatTable(['id', 'state', 'severity', 'action', 'rule', 'grant', 'found', 'opened'], rows))
    if (nextCursor !== undefined) print(`There are more: --cursor ${nextCursor}`)
  }
  return 0
}
