import { type Hex, maxHeaderLength, type PaymentRequirements, x402Version } from '@protocolbanks/stream-protocol'

/** What a header says that is written as a client of ours writes it. */
export type WrittenPayment = {
  grantId: Hex
  cumulativeAmount: bigint
  signature: Hex
  payeeProof: readonly Hex[]
  requestId: string
}

const grantIdLength = 66
/** What follows the request id. */
const end = '"}}}}'
/** From the grant's id on. Nineteen digits fit 128 bits without a further look; a request id is as `requestIdPattern` has it. */
const rest =
  /0x[0-9a-f]{64}","cumulativeAmount":"([1-9]\d{0,18})","signature":"(0x[0-9a-fA-F]{130})"\},"extensions":\{"payment-identifier":\{"info":\{"id":"([\w.:-]{16,128})"\}\}\}\}$/y

/** What a payment for an offer begins with, up to the id of its grant. */
const starts = new WeakMap<PaymentRequirements, string>()

/**
 * PAYMENT-SIGNATURE, by the letter: exactly the text that a client of ours makes of `offer`, whose one part is known and
 * whose other has one form, so that nothing has to be parsed and compared. Undefined for anything else, right or wrong.
 */
export function readAsWritten(header: string, offer: PaymentRequirements): WrittenPayment | undefined {
  if (header.length > maxHeaderLength || header.length % 4 !== 0) return undefined
  const bytes = Buffer.from(header, 'base64')
  // Node's decoder skips what is not base64, which makes it shorter, and takes base64url too.
  if (bytes.length !== decodedLength(header) || header.includes('-') || header.includes('_')) return undefined
  const start = startOf(offer)
  const text = bytes.toString('latin1')
  if (!text.startsWith(start)) return undefined
  rest.lastIndex = start.length
  const found = rest.exec(text)
  const [, cumulativeAmount, signature, requestId] = found ?? []
  if (cumulativeAmount === undefined || signature === undefined || requestId === undefined) return undefined
  const idEnd = bytes.length - end.length
  return {
    // Read anew: a part of a text keeps the whole of it in memory, and these two are kept with the answer.
    grantId: bytes.toString('latin1', start.length, start.length + grantIdLength) as Hex,
    cumulativeAmount: BigInt(cumulativeAmount),
    signature: signature as Hex,
    payeeProof: [],
    requestId: bytes.toString('latin1', idEnd - requestId.length, idEnd),
  }
}

function decodedLength(header: string): number {
  const padding = header.endsWith('==') ? 2 : header.endsWith('=') ? 1 : 0
  return (header.length / 4) * 3 - padding
}

/** One character for each byte, as what it is compared with. */
function startOf(offer: PaymentRequirements): string {
  const known = starts.get(offer)
  if (known !== undefined) return known
  const json = `{"x402Version":${x402Version},"accepted":${JSON.stringify(offer)},"payload":{"grantId":"`
  const start = Buffer.from(json).toString('latin1')
  starts.set(offer, start)
  return start
}
