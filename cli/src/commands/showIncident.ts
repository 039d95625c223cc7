import type { z } from 'zod'
import type { Context, ExitCode } from '../context.ts'
import { formatFields, formatTable } from '../formatTable.ts'
import { incidentWithEventsSchema } from '../schemas.ts'

/** One incident: what was found, and everything that was done about it. */
export async function showIncident({ client, json, print }: Context, id: string): Promise<ExitCode> {
  const incident = await client.get(`/incidents/${encodeURIComponent(id)}`, incidentWithEventsSchema)
  print(json ? JSON.stringify(incident, null, 2) : incidentText(incident))
  return 0
}

/** An incident and its steps, for people. */
export function incidentText(incident: z.output<typeof incidentWithEventsSchema>): string {
  const { stop, inputs } = incident
  const fields = formatFields([
    ['incident', incident.id],
    ['state', incident.state],
    ['severity', incident.severity],
    ['rule', `${incident.rule}, version ${incident.ruleVersion}`],
    ['action', incident.action],
    ['why', incident.explanation],
    [
      'compared',
      inputs &&
        Object.entries(inputs)
          .map((pair) => pair.join(' '))
          .join(', '),
    ],
    ['grant', incident.grantId],
    ['account', incident.account],
    ['payee', incident.payee],
    ['request', incident.requestId],
    ['charged', incident.chargedAt],
    ['opened', incident.openedAt],
    ['found again', incident.lastFoundAt],
    ['seen by', incident.acknowledgedBy],
    ['closed', incident.closedAt],
    ['gateways', stop && (stop.refusedAt === null ? 'not refusing yet' : `refusing since ${stop.refusedAt}`)],
    ['chain', stop && [stop.chainState, stop.txHash ?? stop.errorCode].filter((part) => part !== null).join(' ')],
  ])
  const steps = incident.events.map(({ at, explanation }) => [at, explanation])
  return steps.length === 0 ? fields : `${fields}\n\n${formatTable(['at', 'what'], steps)}`
}
