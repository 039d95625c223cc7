import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import {
  type Address,
  createVoucherHasher,
  decodeHeader,
  encodeHeader,
  type Hex,
  paymentIdentifierKey,
  paymentIdentifierSchema,
  paymentPayloadSchema,
  paymentRequiredHeader,
  paymentResponseHeader,
  paymentSignatureHeader,
  sessionPayloadSchema,
  verifyVoucher,
  x402Version,
} from '@protocolbanks/stream-protocol'
import type { AgentGrant } from '@protocolbanks/stream-sdk'

export type PaidServerOptions = {
  grant: AgentGrant
  /** Address of the key that signs the grant's vouchers. */
  sessionKey: Address
  /** The grant's payee. */
  payee: Address
  /** Of one call, base units. */
  price: bigint
  /** JavaScript that the page at `/` loads. */
  script: string
}

/** A request under `/paid` that carried a good payment and was charged. */
export type PaidCall = { requestId: string; cumulativeAmount: bigint; userAgent: string | undefined }

/**
 * An HTTP server with a page at `/`, its script, and paid answers under `/paid`, all of one origin. It speaks the
 * gateway's wire format for one grant: an offer with 402, vouchers verified with the native curve, the rule
 * `charged + price <= highest voucher seen`, receipts.
 */
export type PaidServer = {
  url: string
  charged: bigint
  authorized: bigint
  /** Calls under `/paid` without a payment. */
  unpaid: number
  paidCalls: PaidCall[]
  close(): Promise<void>
}

const scope = '/paid'
const service = 'weather'

export async function startPaidServer(options: PaidServerOptions): Promise<PaidServer> {
  const { grant, sessionKey, payee, price, script } = options
  const hash = createVoucherHasher(grant)
  const state: PaidServer = {
    url: '',
    charged: 0n,
    authorized: 0n,
    unpaid: 0,
    paidCalls: [],
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
  const server = createServer((request, response) => {
    const path = request.url ?? '/'
    if (path.startsWith(scope)) return answerPaid(request, response, path)
    if (path === '/page.js') return response.writeHead(200, { 'content-type': 'text/javascript' }).end(script)
    if (path !== '/') return response.writeHead(404).end()
    const html = '<!doctype html><meta charset="utf-8"><title>Agent</title><script src="/page.js"></script>'
    response.writeHead(200, { 'content-type': 'text/html' }).end(html)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  state.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return state

  function answerPaid(request: IncomingMessage, response: ServerResponse, path: string): void {
    const header = request.headers[paymentSignatureHeader]
    if (typeof header !== 'string') {
      state.unpaid++
      return void askForPayment(response, 'payment.required')
    }
    const payment = decodeHeader(header, paymentPayloadSchema)
    if (!payment.ok) return void response.writeHead(400).end(payment.reason)
    const session = sessionPayloadSchema.parse(payment.value.payload)
    const { id: requestId } = paymentIdentifierSchema.parse(payment.value.extensions?.[paymentIdentifierKey]).info
    const cumulativeAmount = BigInt(session.cumulativeAmount)
    const signature = session.signature as Hex
    const voucher = { grantId: session.grantId, payee, cumulativeAmount, signature }
    if (!verifyVoucher(hash, voucher, sessionKey)) return void askForPayment(response, 'voucher.invalid_signature')

    if (cumulativeAmount > state.authorized) state.authorized = cumulativeAmount
    if (state.charged + price > state.authorized) return void askForPayment(response, 'voucher.exhausted')
    state.charged += price
    state.paidCalls.push({ requestId, cumulativeAmount, userAgent: request.headers['user-agent'] })
    const receipt = {
      success: true,
      transaction: '',
      network: `eip155:${grant.chainId}`,
      payer: grant.account,
      amount: price.toString(),
      extra: {
        grantId: grant.grantId,
        charged: state.charged.toString(),
        authorized: state.authorized.toString(),
        requestId,
        service,
      },
    }
    response.writeHead(200, { [paymentResponseHeader]: encodeHeader(receipt) }).end(`served ${path}`)
  }

  function askForPayment(response: ServerResponse, error: string): void {
    const offer = {
      x402Version,
      error,
      resource: { url: state.url },
      accepts: [
        {
          scheme: 'session',
          network: `eip155:${grant.chainId}`,
          amount: price.toString(),
          asset: grant.token,
          payTo: payee,
          maxTimeoutSeconds: 60,
          extra: { module: grant.module, settler: grant.account, service, scope },
        },
      ],
      extensions: { [paymentIdentifierKey]: { info: { required: true } } },
    }
    response.writeHead(402, { [paymentRequiredHeader]: encodeHeader(offer), 'cache-control': 'no-store' }).end()
  }
}
