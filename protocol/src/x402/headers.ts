import type { z } from 'zod'

export const paymentRequiredHeader = 'payment-required'
export const paymentSignatureHeader = 'payment-signature'
export const paymentResponseHeader = 'payment-response'

/** Longest header we read, in base64 characters. A session payment has about 1,200. */
export const maxHeaderLength = 8192

/** A value as the base64 JSON of an x402 header. */
export function encodeHeader(value: unknown): string {
  const bytes = new TextEncoder().encode(JSON.stringify(value))
  let binary = ''
  for (const byte of bytes) binary += String.fromCharCode(byte)
  return btoa(binary)
}

export type DecodedHeader<value> = { ok: true; value: value } | { ok: false; reason: string }

/** Untrusted header to its typed value, or one sentence that says what is wrong with it. */
export function decodeHeader<schema extends z.ZodType>(
  header: string,
  schema: schema,
): DecodedHeader<z.output<schema>> {
  if (header.length > maxHeaderLength) return { ok: false, reason: `is longer than ${maxHeaderLength} characters` }
  let json: unknown
  try {
    const bytes = Uint8Array.from(atob(header), (character) => character.charCodeAt(0))
    json = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch {
    return { ok: false, reason: 'is not base64 of JSON' }
  }
  const parsed = schema.safeParse(json)
  if (parsed.success) return { ok: true, value: parsed.data }
  const [issue] = parsed.error.issues
  return { ok: false, reason: `${issue?.path.join('.') || 'value'} ${issue?.message ?? 'is not valid'}` }
}
