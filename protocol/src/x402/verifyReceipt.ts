import { canonicalJson } from './canonicalJson.ts'
import { decodeHeader } from './headers.ts'
import type { ReceiptKey } from './receiptKeys.ts'
import { type SettleResponse, settleResponseSchema } from './schemas.ts'

/**
 * What a signature says of a receipt. `unsigned`: it has none. `unknown_key`: it names a key that is not among the given.
 * `invalid`: the key did not sign this receipt, or it is no receipt at all.
 */
export type ReceiptCheck =
  | { ok: true; keyId: string; receipt: SettleResponse }
  | { ok: false; reason: 'unsigned' | 'unknown_key' | 'invalid'; keyId: string | undefined }

/** What is signed of a receipt: all of it but the signature, as canonical JSON (RFC 8785). */
export function receiptText(receipt: SettleResponse): string {
  const { signature: _, ...extra } = receipt.extra ?? {}
  return canonicalJson({ ...receipt, extra })
}

/**
 * Whether one of these keys signed a receipt. Anybody can ask, and needs nothing but the receipt and the keys that its
 * gateway publishes. The signature is a compact JWS (RFC 7515) with detached payload (its appendix F), ES256.
 *
 * @param receipt PAYMENT-RESPONSE as it came, or decoded
 * @example
 * const { keys } = await (await fetch('https://gateway.example/.well-known/jwks.json')).json()
 * const check = await verifyReceipt(answer.headers.get('payment-response'), parseReceiptKeys({ keys }))
 */
export async function verifyReceipt(
  receipt: string | SettleResponse,
  keys: readonly ReceiptKey[],
): Promise<ReceiptCheck> {
  const read = typeof receipt === 'string' ? decodeHeader(receipt, settleResponseSchema) : { ok: true, value: receipt }
  if (!('value' in read)) return { ok: false, reason: 'invalid', keyId: undefined }
  const { signature } = read.value.extra ?? {}
  if (signature === undefined) return { ok: false, reason: 'unsigned', keyId: undefined }
  const jws = typeof signature === 'string' ? readDetached(signature) : undefined
  if (!jws) return { ok: false, reason: 'invalid', keyId: undefined }
  const { keyId } = jws
  const key = keys.find(({ kid }) => kid === keyId)
  if (!key) return { ok: false, reason: 'unknown_key', keyId }
  const input = new TextEncoder().encode(`${jws.header}.${toBase64Url(receiptText(read.value))}`)
  return (await isSigned(key, jws.signature, input))
    ? { ok: true, keyId, receipt: read.value }
    : { ok: false, reason: 'invalid', keyId }
}

const curve = { name: 'ECDSA', namedCurve: 'P-256' }

async function isSigned(
  { kty, crv, x, y }: ReceiptKey,
  signature: Uint8Array<ArrayBuffer>,
  input: Uint8Array<ArrayBuffer>,
): Promise<boolean> {
  try {
    const key = await crypto.subtle.importKey('jwk', { kty, crv, x, y }, curve, false, ['verify'])
    return await crypto.subtle.verify({ name: 'ECDSA', hash: 'SHA-256' }, key, signature, input)
  } catch {
    // The coordinates are no point of the curve.
    return false
  }
}

/** Only what this gateway writes: whoever names another algorithm is not asked which. */
function readDetached(jws: string): { header: string; keyId: string; signature: Uint8Array<ArrayBuffer> } | undefined {
  const [, header, signature] = /^([\w-]{1,400})\.\.([\w-]{86})$/.exec(jws) ?? []
  if (header === undefined || signature === undefined) return undefined
  try {
    const { alg, kid, crit } = JSON.parse(new TextDecoder().decode(fromBase64Url(header)))
    if (alg !== 'ES256' || typeof kid !== 'string' || crit !== undefined) return undefined
    return { header, keyId: kid, signature: fromBase64Url(signature) }
  } catch {
    return undefined
  }
}

function toBase64Url(text: string): string {
  let binary = ''
  for (const byte of new TextEncoder().encode(text)) binary += String.fromCharCode(byte)
  return btoa(binary).replaceAll('+', '-').replaceAll('/', '_').replace(/=+$/, '')
}

function fromBase64Url(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(atob(text.replaceAll('-', '+').replaceAll('_', '/')), (character) => character.charCodeAt(0))
}
