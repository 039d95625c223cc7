import type { Context, ExitCode } from '../context.ts'
import { incidentWithEventsSchema } from '../schemas.ts'
import { incidentText } from './showIncident.ts'

export type ActOnIncidentOptions = { note?: string | undefined }

/** Says that somebody has seen it. */
export function acknowledgeIncident(context: Context, id: string, options: ActOnIncidentOptions): Promise<ExitCode> {
  return act(context, `/incidents/${encodeURIComponent(id)}/acknowledge`, options)
}

/** Says that it is over: what is found from now on is another. */
export function closeIncident(context: Context, id: string, options: ActOnIncidentOptions): Promise<ExitCode> {
  return act(context, `/incidents/${encodeURIComponent(id)}/close`, options)
}

async function act({ client, json, print }: Context, path: string, { note }: ActOnIncidentOptions): Promise<ExitCode> {
  const incident = await client.post(path, { ...(note !== undefined && { note }) }, incidentWithEventsSchema)
  print(json ? JSON.stringify(incident, null, 2) : incidentText(incident))
  return 0
}
