import type { z } from 'zod'
import type { Context, ExitCode } from '../context.ts'
import { formatTable } from '../formatTable.ts'
import { auditSchema } from '../schemas.ts'

export type ListAuditOptions = { subject?: string | undefined; limit?: string | undefined; cursor?: string | undefined }

/** What operators did and what was refused, newest first. */
export async function listAudit(
  { client, json, print }: Context,
  { subject, limit, cursor }: ListAuditOptions,
): Promise<ExitCode> {
  const query = new URLSearchParams({
    ...(subject !== undefined && { subject }),
    ...(limit !== undefined && { limit }),
    ...(cursor !== undefined && { cursor }),
  })
  const answer = await client.get(`/audit?${query}`, auditSchema)
  if (json) print(JSON.stringify(answer, null, 2))
  else if (answer.entries.length === 0) print('None.')
  else {
    print(auditTable(answer.entries))
    if (answer.nextCursor !== undefined) print(`There are more: --cursor ${answer.nextCursor}`)
  }
  return 0
}

export function auditTable(entries: z.output<typeof auditSchema>['entries']): string {
  const rows = entries.map(({ createdAt, actor, action, outcome, subject, errorCode, note }) => [
    createdAt,
    actor,
    action,
    outcome,
    subject,
    errorCode ?? note,
  ])
  return formatTable(['when', 'who', 'what', 'outcome', 'about', 'why'], rows)
}
