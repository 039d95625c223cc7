import type { ServerResponse } from 'node:http'
import type { Charger } from './charger.ts'
import { admitParsed, enter, type ParsedRequest } from './serveExpress.ts'

/** What is used of Fastify's request and reply; its own types fit. */
export type FastifyRequestLike = ParsedRequest
export type FastifyReplyLike = { raw: ServerResponse; hijack(): unknown }

/**
 * Charges in a `preHandler` hook, when Fastify has parsed the body. Fastify writes what it sends to `reply.raw`, which
 * is watched; a refusal is written there too, so that no serializer or `onSend` hook changes its bytes.
 */
export async function serveFastify(
  charger: Charger,
  request: FastifyRequestLike,
  reply: FastifyReplyLike,
): Promise<void> {
  const admission = await admitParsed(charger, request)
  if (admission.kind === 'answer' || reply.raw.destroyed) reply.hijack()
  enter(admission, reply.raw)
}
