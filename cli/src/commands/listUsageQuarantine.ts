import type { Context, ExitCode } from '../context.ts'
import { formatTable } from '../formatTable.ts'
import { usageQuarantineSchema } from '../schemas.ts'

export type ListUsageQuarantineOptions = {
  reason?: string | undefined
  limit?: string | undefined
  cursor?: string | undefined
}

/** Usage events that the journal did not take, newest first. `--json` shows the events whole. */
export async function listUsageQuarantine(
  { client, json, print }: Context,
  { reason, limit, cursor }: ListUsageQuarantineOptions,
): Promise<ExitCode> {
  const query = new URLSearchParams({
    ...(reason !== undefined && { reason }),
    ...(limit !== undefined && { limit }),
    ...(cursor !== undefined && { cursor }),
  })
  const answer = await client.get(`/usage-quarantine?${query}`, usageQuarantineSchema)
  if (json) print(JSON.stringify(answer, null, 2))
  else if (answer.events.length === 0) print('None.')
  else {
    const rows = answer.events.map(({ createdAt, reason: why, eventId, detail }) => [createdAt, why, eventId, detail])
    print(formatTable(['when', 'why', 'event', 'detail'], rows))
    if (answer.nextCursor !== undefined) print(`There are more: --cursor ${answer.nextCursor}`)
  }
  return 0
}
