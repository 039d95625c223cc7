import { and, asc, eq, sql } from 'drizzle-orm'
import type { Queryable } from '../createDb.ts'
import type { Incident } from './incidents.ts'
import type { SentinelEvent } from './sentinelEvents.ts'
import type { Stop } from './stops.ts'
import { sentinelEventTable, sentinelIncidentTable, sentinelStopTable } from './table.ts'

/** An incident with the stop that it asked for. Undefined: another stop was enough, or it stops nothing. */
export type FoundIncident = { incident: Incident; stop: Stop | undefined }

/** As a tenant or an owner: one of those they see. */
export async function findIncident(db: Queryable, id: string): Promise<FoundIncident | undefined> {
  const [row] = await db
    .select({ incident: sentinelIncidentTable, stop: sentinelStopTable })
    .from(sentinelIncidentTable)
    .leftJoin(sentinelStopTable, eq(sentinelStopTable.incidentId, sentinelIncidentTable.id))
    .where(eq(sentinelIncidentTable.id, id))
    .orderBy(asc(sentinelStopTable.id))
    .limit(1)
  return row && { incident: row.incident, stop: row.stop ?? undefined }
}

const maxEvents = 500

/** What was seen and done, oldest first, at most 500. */
export function listEventsOfIncident(
  db: Queryable,
  { id, grantId }: Pick<Incident, 'id' | 'grantId'>,
): Promise<SentinelEvent[]> {
  return db
    .select()
    .from(sentinelEventTable)
    .where(and(eq(sentinelEventTable.grantId, grantId), sql`${sentinelEventTable.detail} ->> 'incidentId' = ${id}`))
    .orderBy(asc(sentinelEventTable.id))
    .limit(maxEvents)
}
