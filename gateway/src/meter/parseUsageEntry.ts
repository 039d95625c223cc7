import { type Address, clientHashSchema, type Hex } from '@protocolbanks/stream-protocol'
import { z } from 'zod'
import type { MalformedUsage, UsageEvent } from './meter.ts'

// Patterns alone: the store is read at thousands of events a second, and whose addresses these are is checked later.
const address = z.custom<Address>(
  (value) => typeof value === 'string' && /^0x[0-9a-fA-F]{40}$/.test(value),
  'no address',
)
const bytes32 = z.custom<Hex>((value) => typeof value === 'string' && /^0x[0-9a-fA-F]{64}$/.test(value), 'no 32 bytes')
const text = z.string().min(1).max(256)

/** What a charge leaves in the stream beside its amounts. */
const useSchema = z.object({
  account: address,
  grantId: bytes32,
  payee: address,
  requestId: text,
  fingerprint: text,
  record: z.looseObject({
    service: text,
    merchant: text,
    trace: z.string().max(64).optional(),
    client: clientHashSchema.optional(),
  }),
  /** The process that charged it. */
  by: z.string().max(256).optional(),
})

export type ParsedUsage = { ok: true; event: UsageEvent; by: string } | { ok: false; malformed: MalformedUsage }

/**
 * One entry of the meter's stream.
 *
 * @param eventId as it is known everywhere, `p3.1763722800-1763722801234-0`
 */
export function parseUsageEntry(
  at: { eventId: string; partition: number; occurredAtMs: number },
  fields: ReadonlyMap<string, string>,
): ParsedUsage {
  const refuse = (detail: string): ParsedUsage => ({
    ok: false,
    malformed: { eventId: at.eventId, detail, entry: Object.fromEntries([...fields].slice(0, 32).map(shorten)) },
  })
  const amount = fields.get('amount') ?? ''
  const cumulative = fields.get('cumulative') ?? ''
  const signature = fields.get('signature') ?? ''
  if (!/^\d{1,16}$/.test(amount)) return refuse('The amount is no amount.')
  if (!/^\d{1,39}$/.test(cumulative)) return refuse('The cumulative amount is no amount.')
  if (!/^0x[0-9a-fA-F]{1,130}$/.test(signature)) return refuse('The signature is no signature.')
  let json: unknown
  try {
    json = JSON.parse(fields.get('use') ?? '')
  } catch {
    return refuse('The use is no JSON.')
  }
  const parsed = useSchema.safeParse(json)
  if (!parsed.success) {
    const [issue] = parsed.error.issues
    return refuse(`The use is not one: ${issue?.path.join('.')}: ${issue?.message}`)
  }
  const { by = '', record, ...use } = parsed.data
  const event: UsageEvent = {
    ...at,
    ...use,
    amount: BigInt(amount),
    cumulativeAmount: BigInt(cumulative),
    record: { ...record, signature: signature as Hex },
  }
  return { ok: true, event, by }
}

function shorten([name, value]: [string, string]): [string, string] {
  return [name.slice(0, 64), value.slice(0, 4_096)]
}
