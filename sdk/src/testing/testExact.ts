import { decodeHeader, encodeHeader, exactScheme, paymentPayloadSchema } from '@protocolbanks/stream-protocol'

export type TestReply = { status: number; headers: Record<string, string>; body: string }

type Payment = { state: 'free' | 'taken' | 'settled' | 'answered'; fingerprint: string; ticket: string }

/** What the gateway says of payments by `exact` to a merchant's server that settles; signatures and money are not looked at. */
export type TestExact = {
  /** How many tickets there were: the first is `x1`. */
  tickets: number
  /** Payments that have moved. */
  debits: number
  /** Awaited before a payment moves; what it answers is given in the place of that, a throw breaks the connection. */
  beforeSettling(): TestReply | undefined | Promise<TestReply | undefined>
  /** Undefined: it is no payment by `exact`. */
  charge(asked: Asked, problem: (code: string, headers?: Record<string, string>) => TestReply): object | undefined
  /** Undefined: it is no ticket of a payment by `exact`. */
  settle(ticket: string): Promise<object | undefined>
  /** False: it is no ticket of a payment by `exact`. */
  report(ticket: string, how: string): boolean
}

type Asked = { paymentSignature: string | null; settles?: boolean; method: string; url: string; bodyHash?: string }

/** As long as a settlement takes at most, as the gateway says. */
const settleSeconds = 30

/** A PAYMENT-SIGNATURE as a client of `exact` sends it. */
export function exactPayment(nonce: string, identifier?: string): string {
  return encodeHeader({
    x402Version: 2,
    accepted: {
      scheme: exactScheme,
      network: 'eip155:31337',
      amount: '20000',
      asset: `0x${'c'.repeat(40)}`,
      payTo: `0x${'2'.repeat(40)}`,
      maxTimeoutSeconds: 60,
      extra: {},
    },
    payload: { authorization: { from: `0x${'1'.repeat(40)}`, nonce }, signature: '0x' },
    ...(identifier !== undefined && { extensions: { 'payment-identifier': { info: { id: identifier } } } }),
  })
}

export function createTestExact(): TestExact {
  const payments = new Map<string, Payment>()
  const byTicket = new Map<string, string>()
  const receipt = (nonce: string) => ({ 'payment-response': `moved ${nonce}`, 'cache-control': 'private' })

  function paymentOf(ticket: string): [nonce: string, payment: Payment] | undefined {
    const nonce = byTicket.get(ticket)
    const payment = nonce === undefined ? undefined : payments.get(nonce)
    return nonce !== undefined && payment ? [nonce, payment] : undefined
  }

  const exact: TestExact = {
    tickets: 0,
    debits: 0,
    beforeSettling: () => undefined,
    charge({ paymentSignature, settles, method, url, bodyHash }, problem) {
      const read = decodeHeader(paymentSignature ?? '', paymentPayloadSchema)
      if (!read.ok || read.value.accepted.scheme !== exactScheme) return undefined
      const answer = (reply: TestReply) => ({ outcome: 'answer', ...reply })
      if (!settles) return answer(problem('scheme.unsupported'))
      const { nonce } = (read.value.payload as { authorization: { nonce: string } }).authorization
      const fingerprint = [method, url, bodyHash].join(' ')
      const known = payments.get(nonce)
      if (known?.state === 'taken') return answer(problem('request.in_progress'))
      if (known && known.state !== 'free' && known.fingerprint !== fingerprint)
        return answer(problem('request.conflict'))
      if (known?.state === 'answered') return answer(problem('request.answered', receipt(nonce)))
      const ticket = `x${++exact.tickets}`
      byTicket.set(ticket, nonce)
      // What moved and was not answered is served once more.
      const isOwed = known?.state === 'settled'
      payments.set(nonce, { state: isOwed ? 'settled' : 'taken', fingerprint, ticket })
      return { outcome: 'charged', ticket, headers: {}, settleSeconds }
    },
    async settle(ticket) {
      const found = paymentOf(ticket)
      if (!found) return undefined
      const [nonce, payment] = found
      if (payment.state === 'settled') return { outcome: 'settled', headers: receipt(nonce) }
      const instead = await exact.beforeSettling()
      if (instead) {
        payment.state = 'free'
        return { outcome: 'answer', ...instead }
      }
      exact.debits++
      payment.state = 'settled'
      return { outcome: 'settled', headers: receipt(nonce) }
    },
    report(ticket, how) {
      const found = paymentOf(ticket)
      if (!found) return false
      const [, payment] = found
      if (how === 'served') payment.state = 'answered'
      else if (payment.state === 'taken') payment.state = 'free'
      return true
    },
  }
  return exact
}
