import {
  createVoucherHasher,
  decodeHeader,
  encodeHeader,
  paymentIdentifierKey,
  paymentRequiredHeader,
  paymentRequiredSchema,
  paymentSignatureHeader,
  sessionScheme,
  signVoucher,
  x402Version,
} from '@protocolbanks/stream-protocol'
import type { Budget } from './grantBudget.ts'

/** A command that pays for one call by hand: what an agent's client sends, written out. */
export async function exampleCurl(url: string, { grant, sessionKey }: Budget): Promise<string> {
  const asked = await fetch(url)
  const offer = decodeHeader(asked.headers.get(paymentRequiredHeader) ?? '', paymentRequiredSchema)
  if (!offer.ok) throw new Error(`${url} answered ${asked.status}, and its PAYMENT-REQUIRED ${offer.reason}.`)
  const accepted = offer.value.accepts.find(({ scheme }) => scheme === sessionScheme)
  const [payee] = grant.payees
  if (!accepted || !payee) throw new Error(`${url} cannot be paid with a session.`)

  const { grantId } = grant
  const cumulativeAmount = BigInt(accepted.amount)
  const { signature } = signVoucher(createVoucherHasher(grant), sessionKey, { grantId, payee, cumulativeAmount })
  const header = encodeHeader({
    x402Version,
    accepted,
    payload: { grantId, cumulativeAmount: cumulativeAmount.toString(), signature },
    extensions: { [paymentIdentifierKey]: { info: { id: 'example-request-0001' } } },
  })
  return `curl -i ${url} -H '${paymentSignatureHeader}: ${header}'`
}
