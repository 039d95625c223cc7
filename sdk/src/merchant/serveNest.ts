import type { ServerResponse } from 'node:http'
import type { Charger } from './charger.ts'
import { admitParsed, enter, type ParsedRequest } from './serveExpress.ts'

/** What is used of NestJS' execution context; its own type fits. */
export type NestContextLike = { switchToHttp(): { getRequest<type>(): type; getResponse<type>(): type } }

/** Express' response is Node's; Fastify's reply has it, and is told to leave it alone. */
type NestResponse = ServerResponse & { raw?: ServerResponse | undefined; hijack?: (() => unknown) | undefined }

/**
 * Charges in a guard, on Express or Fastify. Guards do not see answers: Node's response below them is watched instead,
 * exceptions and streams included.
 */
export async function serveNest(charger: Charger, context: NestContextLike): Promise<boolean> {
  const http = context.switchToHttp()
  const response = http.getResponse<NestResponse>()
  const raw = response.raw ?? response
  const admission = await admitParsed(charger, http.getRequest<ParsedRequest>())
  if (admission.kind === 'answer' || raw.destroyed) response.hijack?.()
  if (enter(admission, raw)) return true
  // The answer is given, byte by byte: NestJS would make JSON of it, and another answer of whatever a guard says.
  return new Promise(() => {})
}
