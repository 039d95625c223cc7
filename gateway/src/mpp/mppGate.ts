import type { PaymentRequirements } from '@protocolbanks/stream-protocol'
import { type Chain, networkOf } from '../payment/chain.ts'
import { refusePayment } from '../payment/offer.ts'
import type { PaidRequest, PaymentGate, ServedCharge, Settled, Verdict } from '../payment/paymentGate.ts'
import type { PaymentRefusal } from '../payment/refusals.ts'
import { problem } from '../problem.ts'
import type { ExactGate } from '../x402/exactGate.ts'
import { acceptsCharge } from './acceptsCharge.ts'
import { alternateHeader, type Challenge, challengeId, writeChallenge } from './challenge.ts'
import type { ChallengeKeys } from './challengeKeys.ts'
import { encodeChargeRequest, mppIntent, mppMethod, toBase64Url } from './chargeRequest.ts'
import { type ChallengeTerms, checkChallenge, isExpired } from './checkChallenge.ts'
import { type ProblemType, problemTypeOf, toUri } from './problemTypes.ts'
import { type Credential, isCredential, readCredential } from './readCredential.ts'

export type MppGateDeps = {
  /** Everything that is not paid by MPP. */
  gate: PaymentGate
  exact: Pick<ExactGate, 'offer' | 'requirementsOf' | 'pay' | 'busy'>
  chain: Chain
  keys: ChallengeKeys
  /** Host under which clients reach the gateways. */
  realm: string
  clock(): number
  randomBytes(size: number): Uint8Array
}

type Refused = Extract<Verdict, { kind: 'refused' }>
/** A credential, and the field that it came in where it is not `Authorization`. */
type Carried = { field: string; header: string | undefined }

/**
 * MPP's `evm/charge` before another gate: its 402 gets a challenge in `WWW-Authenticate: Payment` too, and a credential in
 * `Authorization: Payment` is paid as x402's `exact` is, by the same machinery. Nothing is kept between challenge and
 * credential. See docs/mpp.md and docs/adr/0011.
 */
export function createMppGate(deps: MppGateDeps): PaymentGate {
  const { gate, exact, chain, keys, realm, clock } = deps

  return {
    async authorize(request) {
      const carried = carriedBy(request)
      if (carried.length === 0) {
        const verdict = await gate.authorize(request)
        return verdict.kind === 'refused' ? answerIn(request, verdict) : verdict
      }
      const [one, other] = carried
      if (one === undefined || other !== undefined || request.payment !== undefined) return ambiguous()
      return pay(request, one)
    },
  }

  async function pay(request: PaidRequest, { field, header }: Carried): Promise<Verdict> {
    const required = exact.requirementsOf(request)
    if (!required) {
      const detail = `Service ${request.service.name} is not paid by MPP.`
      return request.service.exactPrice === undefined ? unsupported(detail) : exact.busy()
    }
    const read = readCredential(field)
    if (!read.ok) {
      const type: ProblemType = read.what === 'payload' ? 'invalid-payload' : 'malformed-credential'
      return answerIn(request, refuse(request, 'credential.malformed', read.detail), type)
    }
    const { credential } = read
    const wrong = checkChallenge(credential, termsOf(request, required, header))
    if (wrong) {
      const { code, detail } = wrong
      if (code === 'method.unsupported') return unsupported(detail)
      return answerIn(request, refuse(request, code, detail))
    }
    const { authorization, signature, challenge } = credential
    const verdict = await exact.pay(request, required, {
      payment: { authorization, signature, identifier: undefined },
      check: () => (isExpired(challenge, clock()) ? 'challenge.expired' : undefined),
    })
    if (verdict.kind === 'refused') return answerIn(request, verdict, insufficient(verdict.code, credential, required))
    return verdict.kind === 'serve' ? { kind: 'serve', charge: receipted(request, verdict.charge, challenge) } : verdict
  }

  function termsOf(request: PaidRequest, required: PaymentRequirements, header: string | undefined): ChallengeTerms {
    const { service, digest } = request
    return { keys, realm, chainId: chain.chainId, service: service.id, required, header, digest: () => digest?.() }
  }

  /** The same charge, whose answer carries a receipt of MPP as well. */
  function receipted(request: PaidRequest, charge: ServedCharge, { id }: Challenge): ServedCharge {
    const { settle } = charge
    if (!settle) return charge
    return {
      ...charge,
      async settle(): Promise<Settled> {
        const settled = await settle()
        if (!settled.ok) {
          const { response } = await answerIn(request, { kind: 'refused', ...settled })
          return { ...settled, response }
        }
        // draft-evm-charge-01, "Receipt Generation".
        const receipt = {
          method: mppMethod,
          challengeId: id,
          reference: settled.transaction ?? '',
          status: 'success',
          timestamp: new Date(clock()).toISOString(),
          chainId: chain.chainId,
        }
        return { ...settled, mppReceipt: toBase64Url(receipt) }
      },
    }
  }

  /**
   * A refusal as it is told to whoever may pay by MPP: a 402 brings a fresh challenge, and a client that speaks MPP finds its
   * own `type` of problem beside our `code`.
   */
  async function answerIn(request: PaidRequest, refused: Refused, known?: ProblemType): Promise<Refused> {
    const { code, response } = refused
    const { status } = response
    const challenge = status === 402 ? offer(request) : undefined
    if (challenge) response.headers.set('www-authenticate', writeChallenge(challenge, request.service.name))
    const isSpoken = carriedBy(request).length > 0 || request.header?.('accept-payment') !== undefined
    const type = isSpoken ? (known ? toUri(known) : problemTypeOf(code, status)) : undefined
    if (type === undefined) return refused
    const told = { ...((await response.json()) as object), type, challengeId: challenge?.id }
    return { ...refused, response: new Response(JSON.stringify(told), { status, headers: response.headers }) }
  }

  /** Undefined when it cannot be paid now, or the client does not want to be asked. */
  function offer(request: PaidRequest): Challenge | undefined {
    const [required] = exact.offer(request)
    if (!required || !acceptsCharge(request.header?.('accept-payment'))) return undefined
    const slots = {
      realm,
      method: mppMethod,
      intent: mppIntent,
      request: encodeChargeRequest(required, chain.chainId),
      expires: new Date(clock() + required.maxTimeoutSeconds * 1_000).toISOString(),
      digest: request.digest?.(),
      // Two challenges of one moment are two payments. In the order of the names: canonical JSON.
      opaque: toBase64Url({
        nonce: Buffer.from(deps.randomBytes(16)).toString('base64url'),
        service: request.service.id,
      }),
      header: hasOtherAuthorization(request) ? alternateHeader : undefined,
    }
    return { id: challengeId(slots, keys[0]), ...slots }
  }

  function refuse(request: PaidRequest, code: PaymentRefusal, detail?: string): Refused {
    const { service, amount, url } = request
    const refusal = { code, service, amount, url, detail, others: exact.offer(request) }
    return { kind: 'refused', code, response: refusePayment(chain, refusal) }
  }

  function unsupported(detail: string | undefined): Refused {
    const code = 'method.unsupported'
    const response = problem(400, code, 'The payment method is not taken here.', {
      detail,
      hint: `Answer a challenge of this service's 402, or pay by x402 on ${networkOf(chain)}.`,
      type: problemTypeOf(code, 400),
    })
    return { kind: 'refused', code, response }
  }
}

function ambiguous(): Refused {
  const code = 'payment.ambiguous'
  const response = problem(400, code, 'The request carries more than one payment; none of them was taken.', {
    hint: 'Send one: PAYMENT-SIGNATURE, Authorization: Payment, or Payment-Authorization.',
    type: problemTypeOf(code, 400),
  })
  return { kind: 'refused', code, response }
}

/** Credentials of MPP in a request. Two lookups, and nothing else, in every call that is paid by something else. */
function carriedBy({ header }: PaidRequest): Carried[] {
  const usual = header?.('authorization')
  const alternate = header?.('payment-authorization')
  const carried: Carried[] = []
  if (isCredential(usual)) carried.push({ field: usual, header: undefined })
  if (isCredential(alternate)) carried.push({ field: alternate, header: alternateHeader })
  return carried
}

/** An Authorization that is the upstream's, and would be lost to the credential. */
function hasOtherAuthorization({ header }: PaidRequest): boolean {
  const usual = header?.('authorization')
  return usual !== undefined && !isCredential(usual)
}

/** Too little, of what is not the price. */
function insufficient(code: string, { authorization }: Credential, { amount }: PaymentRequirements) {
  const isTooLittle = code === 'exact.wrong_amount' && authorization.value < BigInt(amount)
  return isTooLittle ? ('payment-insufficient' as const) : undefined
}
