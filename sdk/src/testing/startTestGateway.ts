import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import {
  type Address,
  createVoucherHasher,
  decodeHeader,
  encodeHeader,
  type Hex,
  isPayee,
  payeeRootOf,
  paymentIdentifierKey,
  paymentIdentifierSchema,
  paymentPayloadSchema,
  problemContentType,
  sessionPayloadSchema,
  verifyVoucher,
  voucherForSchema,
} from '@protocolbanks/stream-protocol'
import type { AgentGrant } from '../agent/grant.ts'
import { createTestExact, type TestExact } from './testExact.ts'

/** A paid call that has reached the server. */
export type Arrival = {
  /** From 1. */
  number: number
  method: string
  path: string
  headers: IncomingMessage['headers']
  body: string
  requestId: string
  cumulativeAmount: bigint
}

/** What happens to a charged call; 'answer' unless told otherwise. `cut`: the connection breaks, the charge stands. */
export type Fate = 'answer' | 'cut' | { status: number; headers?: Record<string, string> | undefined; body?: string }

export type TestGatewayOptions = {
  grant: AgentGrant
  sessionKey: Address
  payee?: Address
  price?: bigint
  scope?: string
  /** Awaited before the meter is asked: decides the order of arrival. */
  onArrival?(arrival: Arrival): void | Promise<void>
  onCharged?(arrival: Arrival): Fate | Promise<Fate>
}

/** A merchant's call: what is final, and what is held. */
type TestTicket = { requestId: string; open: bigint; closed: bigint }

type Reply = { status: number; headers: Record<string, string>; body: string }

/**
 * A small HTTP server that speaks the gateway's wire format for one grant and one service: 402 with an offer, vouchers
 * checked by signature, proof and the meter's rule (`charged + price <= highest voucher seen`), request ids, receipts,
 * and the charges API for merchants. Its fields may be changed while it runs.
 */
export type TestGateway = {
  url: string
  payee: Address
  price: bigint
  /** How the price comes about, in base units, as offers show it; merchants bring their own. */
  pricing: object | undefined
  /** What a call uses of its price; undefined: all. */
  used: bigint | undefined
  charged: bigint
  authorized: bigint
  /** Refuses a paid call before anything else; undefined lets it through. */
  refuse(): Reply | undefined
  /** Calls without a payment. */
  unpaid: number
  arrivals: Arrival[]
  /** What is paid by `exact`, of merchants alone. */
  exact: TestExact
  /** Reports of merchants: `release t1`, `settle x1`, `served t2`. */
  reports: string[]
  /** What merchants' calls cost that are priced by use. */
  captures: bigint[]
  /** Vouchers for streams, out of band. */
  vouchers: { method: string; cumulativeAmount: bigint; voucherFor: string }[]
  close(): Promise<void>
}

export async function startTestGateway(options: TestGatewayOptions): Promise<TestGateway> {
  const { grant, sessionKey, scope = '/paid' } = options
  const hash = createVoucherHasher(grant)
  const root = payeeRootOf(grant.payees)
  const [firstPayee] = grant.payees
  if (!firstPayee) throw new Error('the grant has no payee')
  const answered = new Map<string, Reply>()
  /** What merchants' calls asked for, by request id. */
  const fingerprints = new Map<string, string>()
  const tickets = new Map<string, TestTicket>()

  const gateway: TestGateway = {
    url: '',
    payee: options.payee ?? firstPayee,
    price: options.price ?? 10_000n,
    pricing: undefined,
    used: undefined,
    charged: 0n,
    authorized: 0n,
    refuse: () => undefined,
    unpaid: 0,
    arrivals: [],
    exact: createTestExact(),
    reports: [],
    captures: [],
    vouchers: [],
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }

  const server = createServer((request, response) => {
    handle(request, response).catch((error) => {
      response.destroy(error instanceof Error ? error : new Error(String(error)))
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  gateway.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return gateway

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = request.url ?? '/'
    const body = await text(request)
    const give = ({ status, headers, body }: Reply) => response.writeHead(status, headers).end(body)
    if (path.startsWith('/api/charges')) return void give(await chargesApi(request, path, body))
    if (!path.startsWith(scope)) return void give({ status: 200, headers: {}, body: 'free' })

    const header = request.headers['payment-signature']
    const paid = readPayment(typeof header === 'string' ? header : null)
    if ('status' in paid) return void give(paid)
    const { method = 'GET', headers } = request
    const arrival: Arrival = { number: gateway.arrivals.length + 1, method, path, headers, body, ...paid }
    gateway.arrivals.push(arrival)
    await options.onArrival?.(arrival)

    const earlier = answered.get(paid.requestId)
    const charged = earlier ? undefined : charge(paid, gateway.price, gateway.used)
    if (charged && 'status' in charged) return void give(charged)
    if (charged) answered.set(paid.requestId, { status: 200, headers: charged.receipt, body: `served ${path}` })
    const fate = (await options.onCharged?.(arrival)) ?? 'answer'
    if (fate === 'cut') return void response.destroy()
    if (fate !== 'answer') {
      const failed = fate.status >= 500
      if (failed) release(paid.requestId, gateway.price)
      return void give({
        status: fate.status,
        headers: { ...(failed ? {} : charged?.receipt), ...fate.headers },
        body: fate.body ?? '',
      })
    }
    give(answered.get(paid.requestId) ?? problem(409, 'request.answered'))
  }

  /** `POST /api/charges`, `/api/charges/:ticket/served` and its like. */
  async function chargesApi(request: IncomingMessage, path: string, body: string): Promise<Reply> {
    const json = (value: unknown): Reply => ({
      status: 200,
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(value),
    })
    if (request.headers.authorization !== 'Bearer test-key') return problem(401, 'api_key.invalid')
    const [, , , ticket, report] = path.split('/')
    if (ticket !== undefined) {
      if (report === 'settle') {
        gateway.reports.push(`settle ${ticket}`)
        const settled = await gateway.exact.settle(ticket)
        return settled ? json(settled) : problem(404, 'ticket.unknown')
      }
      if (gateway.exact.report(ticket, report ?? '')) {
        gateway.reports.push(`${report} ${ticket}`)
        return json({ released: report === 'release' })
      }
      const charge = tickets.get(ticket)
      if (!charge) return problem(404, 'ticket.unknown')
      if (report === 'capture') return json(capture(charge, BigInt(JSON.parse(body).amountAtomic)))
      if (report === 'extend') return json(extend(charge, JSON.parse(body)))
      tickets.delete(ticket)
      gateway.reports.push(`${report} ${ticket}`)
      if (report === 'release') release(charge.requestId, charge.closed + charge.open)
      return json({ released: report === 'release' })
    }
    const asked = JSON.parse(body)
    gateway.price = BigInt(asked.amountAtomic)
    gateway.pricing = asked.pricing
    const byExact = gateway.exact.charge(asked, (code, headers) => problem(409, code, headers))
    if (byExact) return json(byExact)
    const answer = (reply: Reply) => json({ outcome: 'answer', ...reply })
    const paid = readPayment(asked.paymentSignature)
    if ('status' in paid) return answer(paid)
    if (paid.voucherFor !== undefined) {
      gateway.vouchers.push({
        method: asked.method,
        cumulativeAmount: paid.cumulativeAmount,
        voucherFor: paid.voucherFor,
      })
      if (paid.cumulativeAmount > gateway.authorized) gateway.authorized = paid.cumulativeAmount
      return answer({ status: 204, headers: {}, body: '' })
    }
    gateway.arrivals.push({
      number: gateway.arrivals.length + 1,
      headers: {},
      body,
      path: asked.url,
      method: asked.method,
      ...paid,
    })
    const fingerprint = [asked.method, asked.url, asked.bodyHash].join(' ')
    const earlier = answered.get(paid.requestId)
    if (earlier) {
      return answer(fingerprints.get(paid.requestId) === fingerprint ? earlier : problem(409, 'request.conflict'))
    }
    const hold = BigInt(asked.holdAtomic ?? asked.amountAtomic)
    const charged = charge(paid, hold)
    if ('status' in charged) return answer(charged)
    answered.set(paid.requestId, problem(409, 'request.answered', charged.receipt))
    fingerprints.set(paid.requestId, fingerprint)
    const id = `t${gateway.arrivals.length}`
    tickets.set(id, { requestId: paid.requestId, open: hold, closed: 0n })
    return json({ outcome: 'charged', ticket: id, headers: charged.receipt })
  }

  /** What the call cost in all, at most what is held. */
  function capture(charge: TestTicket, amount: bigint) {
    const rest = amount < charge.closed ? 0n : amount - charge.closed
    const used = rest < charge.open ? rest : charge.open
    gateway.charged -= charge.open - used
    Object.assign(charge, { closed: charge.closed + used, open: 0n })
    gateway.captures.push(charge.closed)
    const headers = receiptOf(charge.requestId, charge.closed)
    answered.set(charge.requestId, problem(409, 'request.answered', headers))
    return { amountAtomic: `${charge.closed}`, headers }
  }

  /** One more segment; what the ones before cost is final. */
  function extend(charge: TestTicket, asked: { amountAtomic: string; usedAtomic?: string }) {
    const amount = BigInt(asked.amountAtomic)
    const used = asked.usedAtomic === undefined ? charge.open : BigInt(asked.usedAtomic) - charge.closed
    // Of what nothing was used nothing more is held.
    if (used === 0n && charge.open > 0n)
      return { outcome: 'charged', headers: receiptOf(charge.requestId, charge.closed + charge.open) }
    gateway.charged -= charge.open - used
    Object.assign(charge, { closed: charge.closed + used, open: 0n })
    const requiredCumulative = gateway.charged + amount
    if (requiredCumulative > gateway.authorized) {
      const acceptedCumulative = `${gateway.authorized}`
      return { outcome: 'exhausted', requiredCumulative: `${requiredCumulative}`, acceptedCumulative }
    }
    gateway.charged = requiredCumulative
    charge.open = amount
    return { outcome: 'charged', headers: receiptOf(charge.requestId, charge.closed + amount) }
  }

  type Paid = { requestId: string; cumulativeAmount: bigint; voucherFor?: string | undefined }

  function readPayment(header: string | null): Reply | Paid {
    if (header === null) {
      gateway.unpaid++
      return paymentRequired('payment.required')
    }
    const refused = gateway.refuse()
    if (refused) return refused
    const payment = decodeHeader(header, paymentPayloadSchema)
    if (!payment.ok) return problem(400, 'payment.malformed')
    const { accepted, extensions } = payment.value
    const session = sessionPayloadSchema.parse(payment.value.payload)
    const { id: requestId } = paymentIdentifierSchema.parse(extensions?.[paymentIdentifierKey]).info
    const cumulativeAmount = BigInt(session.cumulativeAmount)
    const voucher = {
      grantId: session.grantId,
      payee: gateway.payee,
      cumulativeAmount,
      signature: session.signature as Hex,
    }
    if (!verifyVoucher(hash, voucher, sessionKey)) return paymentRequired('voucher.invalid_signature')
    if (!isPayee(root, gateway.payee, session.payeeProof ?? [])) return paymentRequired('payee.not_granted')
    if (BigInt(accepted.amount) !== gateway.price) return paymentRequired('price.changed')
    return { requestId, cumulativeAmount, voucherFor: voucherForSchema.safeParse(extensions?.session).data?.voucherFor }
  }

  function charge(paid: Paid, hold: bigint, amount = hold): Reply | { receipt: Record<string, string> } {
    if (paid.cumulativeAmount > gateway.authorized) gateway.authorized = paid.cumulativeAmount
    if (gateway.charged + hold > gateway.authorized) return paymentRequired('voucher.exhausted', channel())
    gateway.charged += amount
    return { receipt: receiptOf(paid.requestId, amount) }
  }

  function receiptOf(requestId: string, amount: bigint): Record<string, string> {
    const receipt = {
      success: true,
      transaction: '',
      network: `eip155:${grant.chainId}`,
      payer: grant.account,
      amount: amount.toString(),
      extra: { ...channel(), requestId, service: 'weather' },
    }
    return { 'payment-response': encodeHeader(receipt), 'cache-control': 'private' }
  }

  function release(requestId: string, price: bigint): void {
    gateway.charged -= price
    answered.delete(requestId)
  }

  function channel() {
    return {
      grantId: grant.grantId,
      charged: gateway.charged.toString(),
      authorized: gateway.authorized.toString(),
    }
  }

  function paymentRequired(code: string, session?: unknown): Reply {
    const reply = problem(402, code)
    const offer = {
      x402Version: 2,
      error: code,
      resource: { url: gateway.url },
      accepts: [
        {
          scheme: 'session',
          network: `eip155:${grant.chainId}`,
          amount: gateway.price.toString(),
          asset: grant.token,
          payTo: gateway.payee,
          maxTimeoutSeconds: 60,
          extra: {
            module: grant.module,
            settler: grant.account,
            service: 'weather',
            scope,
            ...(gateway.pricing && { pricing: gateway.pricing }),
          },
        },
      ],
      extensions: { [paymentIdentifierKey]: { info: { required: true } }, ...(session !== undefined && { session }) },
    }
    return { ...reply, headers: { ...reply.headers, 'payment-required': encodeHeader(offer) } }
  }
}

/** An RFC 9457 answer. */
export function problem(status: number, code: string, headers: Record<string, string> = {}): Reply {
  return {
    status,
    headers: { 'content-type': problemContentType, 'cache-control': 'no-store', ...headers },
    body: JSON.stringify({
      type: `https://errors.example/#${code}`,
      title: `Refused: ${code}.`,
      status,
      code,
      hint: 'Do something about it.',
    }),
  }
}
