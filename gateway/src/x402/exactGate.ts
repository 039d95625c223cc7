import type { TokenDomain } from '@protocolbanks/stream-bundler-client'
import {
  type Db,
  dropX402Lease,
  findX402Payment,
  findX402PaymentByIdentifier,
  markX402Answered,
  releaseX402Payment,
  resumeX402Payment,
  takeX402Payment,
  type X402Payment,
} from '@protocolbanks/stream-db'
import { BaseError, type PaymentRequirements } from '@protocolbanks/stream-protocol'
import { LRUCache } from 'lru-cache'
import type { Logger } from 'pino'
import type { PublicClient } from 'viem'
import type { AnswerStore, Outcome } from '../answers/answerStore.ts'
import type { Chain } from '../payment/chain.ts'
import type { ReceiptSigner } from '../payment/createReceiptSigner.ts'
import type { OtherSchemes, PaidRequest, Settled, Verdict } from '../payment/paymentGate.ts'
import type { PaymentRefusal } from '../payment/refusals.ts'
import type { SignedAuthorization } from './authorization.ts'
import { checkTerms } from './checkTerms.ts'
import { createExactAnswers } from './exactAnswers.ts'
import { exactRequirements } from './exactOffer.ts'
import { type ExactPayment, readExact } from './readExact.ts'
import type { Relayer } from './relayer.ts'
import type { SettleEnd, Settler } from './settler.ts'
import { isSignedByPayer, type TransferPlan, type VerifierDeps, verifyAuthorization } from './verifyAuthorization.ts'

export type ExactGateDeps = {
  db: Db
  chain: Chain
  client: PublicClient
  /** Undefined as long as the token was not asked. */
  domain(): TokenDomain | undefined
  relayer: Pick<Relayer, 'address' | 'canSend'>
  settler: Pick<Settler, 'settle'>
  answers: AnswerStore
  factories: VerifierDeps['factories']
  /** Of this process. */
  owner: string
  leaseMs: number
  settleSeconds: number
  /** Payments that this process is at; more are told to come again. */
  maxActive: number
  /** How long a retry waits for the first request to end. */
  retryWaitMs: number
  receiptSigner?: ReceiptSigner | undefined
  clock(): number
  logger: Logger
  crashPoint(name: string): void
}

/** A request that this process serves or settles, by its authorisation. */
type Active = { signature: string; fingerprint: string }

export type ExactGate = OtherSchemes & {
  /** What a call has to be paid with; undefined when it cannot be paid like this, or not yet. */
  requirementsOf(request: PaidRequest): PaymentRequirements | undefined
  /**
   * A payment for `required` that another protocol brought. What `check` finds wrong holds against a payment that is taken
   * for the first time, not against one that has paid already.
   */
  pay(request: PaidRequest, required: PaymentRequirements, brought: BroughtPayment): Promise<Verdict>
  busy(): Verdict
}

export type BroughtPayment = { payment: ExactPayment; check?(): PaymentRefusal | undefined }

const maxAnswered = 10_000

/**
 * Payments by x402's `exact`: verify, take the authorisation, let the call be served, settle, answer. Whoever is not
 * served pays nothing; whoever paid is answered, by a retry with the same payment if need be. See docs/adr/0008.
 */
export function createExactGate(deps: ExactGateDeps): ExactGate {
  const { db, chain, settler, answers, owner, clock, logger } = deps
  const active = new Map<string, Active>()
  /** Payments that this process has answered: a retry may be here before Postgres says so. */
  const answered = new LRUCache<string, true>({ max: maxAnswered })
  const say = createExactAnswers(chain, offer, deps.receiptSigner)

  return { offer, authorize, requirementsOf, pay, busy: say.busy }

  function offer(request: PaidRequest): PaymentRequirements[] {
    const one = deps.relayer.canSend() ? requirementsOf(request) : undefined
    return one ? [one] : []
  }

  function requirementsOf({ service, amount, settles }: PaidRequest): PaymentRequirements | undefined {
    const domain = deps.domain()
    if (!domain || !settles) return undefined
    return exactRequirements(chain, service, { amount, domain, settleSeconds: deps.settleSeconds })
  }

  async function authorize(request: PaidRequest, header: string): Promise<Verdict | undefined> {
    const required = requirementsOf(request)
    if (!required) return undefined
    const read = readExact(header, required)
    if (!read.ok) {
      if (read.code === 'scheme.unsupported') return undefined
      return read.code === 'payment.malformed' ? say.malformed(read.detail) : say.refuse(request, read.code)
    }
    return pay(request, required, read)
  }

  async function pay(
    request: PaidRequest,
    required: PaymentRequirements,
    { payment, check }: BroughtPayment,
  ): Promise<Verdict> {
    const authorization = { ...payment.authorization, signature: payment.signature, token: request.service.token }
    const key = `${authorization.from}:${authorization.nonce}`
    const fingerprint = request.fingerprint()
    const other = active.get(key)
    if (other) {
      // Only who signed it has the same signature to show.
      const isSame = other.signature === payment.signature && other.fingerprint === fingerprint
      return isSame && payment.identifier !== undefined ? waitFor(request, payment) : say.inProgress()
    }
    if (active.size >= deps.maxActive) return say.busy()
    active.set(key, { signature: payment.signature, fingerprint })
    let isServed = false
    try {
      const verdict = await admit(request, {
        payment,
        authorization,
        required,
        check,
        fingerprint,
        done: () => active.delete(key),
      })
      isServed = verdict.kind === 'serve'
      return verdict
    } catch (error) {
      if (error instanceof BaseError && error.code === 'exact.unavailable') return say.unavailable(error)
      throw error
    } finally {
      if (!isServed) active.delete(key)
    }
  }

  type Asked = {
    payment: ExactPayment
    authorization: SignedAuthorization
    required: PaymentRequirements
    check: BroughtPayment['check']
    fingerprint: string
    done(): void
  }

  async function admit(request: PaidRequest, asked: Asked): Promise<Verdict> {
    const { payment, authorization, required, fingerprint } = asked
    const { service } = request
    const domain = deps.domain()
    if (!domain) return say.busy()
    const known = await findKnown(service.payee, asked)
    if (known) {
      const verdict = await repeat(request, known, asked, domain)
      if (verdict) return verdict
    }
    const terms = { token: service.token, payee: service.payee, amount: BigInt(required.amount) }
    const wrong = asked.check?.() ?? checkTerms(authorization, terms, clock())
    if (wrong) return say.refuse(request, wrong)
    if (!deps.relayer.canSend()) return say.busy()
    const verifier = { client: deps.client, domain, relayer: deps.relayer.address, factories: deps.factories }
    const verified = await verifyAuthorization(authorization, verifier)
    if (!verified.ok) {
      // Another gateway may have taken and settled it since it was looked for.
      const taken = verified.code === 'exact.nonce_used' ? await findKnown(service.payee, asked) : undefined
      return (taken && (await repeat(request, taken, asked, domain))) ?? say.refuse(request, verified.code)
    }
    deps.crashPoint('exact.verified')

    const { token, from: payer, to: payee, value: amount, validAfter, validBefore, nonce, signature } = authorization
    const taken = await takeX402Payment(
      db,
      {
        ...{ origin: 'gateway', merchantId: service.merchantId, serviceId: service.id, token, payer, payee, amount },
        ...{ validAfter, validBefore, nonce, signature, paymentIdentifier: payment.identifier ?? null, fingerprint },
      },
      { owner, leaseMs: deps.leaseMs, now: new Date(clock()) },
    )
    // Somebody else was a moment earlier, here or at another gateway.
    if (!taken) return say.inProgress()
    deps.crashPoint('exact.taken')
    return serve(request, taken, asked, verified.plan)
  }

  async function findKnown(payee: `0x${string}`, { payment, authorization }: Asked): Promise<X402Payment | undefined> {
    const { token, from: payer, nonce } = authorization
    const byNonce = await findX402Payment(db, { token, payer, nonce })
    if (byNonce || payment.identifier === undefined) return byNonce
    return findX402PaymentByIdentifier(db, { payee, payer, identifier: payment.identifier })
  }

  /** What was presented before, or bears the name of something that was. Undefined: it may be served anew. */
  async function repeat(
    request: PaidRequest,
    known: X402Payment,
    asked: Asked,
    domain: TokenDomain,
  ): Promise<Verdict | undefined> {
    const { payment, authorization, fingerprint } = asked
    const isLapsed = known.leaseUntil === null || known.leaseUntil.getTime() < clock()
    if (known.state === 'released' || known.state === 'failed') return undefined
    if (known.state === 'verified' && isLapsed) return undefined
    const isSame = known.nonce === authorization.nonce && known.signature === payment.signature
    if (!isSame && !(await isSignedByPayer(authorization, { client: deps.client, domain }))) {
      return say.refuse(request, 'exact.signature_invalid')
    }
    if (known.origin !== 'gateway' || known.payee !== request.service.payee)
      return say.refuse(request, 'exact.nonce_used')
    if (known.fingerprint !== fingerprint) return say.conflict()
    if (known.state !== 'settled')
      return payment.identifier === undefined ? say.inProgress() : waitFor(request, payment)
    const name = nameOf(request, payment)
    const outcome = name === undefined ? undefined : await answers.find(name, 0)
    if (outcome !== undefined && outcome !== 'pending' && outcome.state === 'kept') {
      return { kind: 'replay', answer: outcome.answer, receipt: say.receipt(known) }
    }
    if (known.answeredAt !== null || answered.has(known.id)) return say.answered(known)
    const resumed = await resumeX402Payment(db, {
      ...{ id: known.id, owner, leaseMs: deps.leaseMs },
      now: new Date(clock()),
    })
    return resumed ? serve(request, known, asked, undefined) : say.inProgress()
  }

  /** The first request's answer, for one with the same name. */
  async function waitFor(request: PaidRequest, payment: ExactPayment): Promise<Verdict> {
    const name = nameOf(request, payment)
    const waitMs = request.keepsAnswers ? 0 : deps.retryWaitMs
    const outcome = name === undefined ? undefined : await answers.find(name, waitMs)
    if (outcome === undefined || outcome === 'pending') return say.inProgress()
    if (outcome.state !== 'kept' && outcome.state !== 'given') return say.inProgress()
    const { from: payer, nonce } = payment.authorization
    const settled = await findX402Payment(db, { token: request.service.token, payer, nonce })
    if (settled?.state !== 'settled') return say.inProgress()
    if (outcome.state === 'given') return say.answered(settled)
    return { kind: 'replay', answer: outcome.answer, receipt: say.receipt(settled) }
  }

  /** @param plan undefined: it is settled already, and its answer is owed */
  function serve(request: PaidRequest, payment: X402Payment, asked: Asked, plan: TransferPlan | undefined): Verdict {
    const name = nameOf(request, asked.payment)
    const finishNamed = name === undefined ? undefined : answers.begin(name)
    let isOver = false
    /** False when it ended before: by now the payment may be at another request. */
    const finish = (outcome: Outcome) => {
      if (isOver) return false
      isOver = true
      finishNamed?.(outcome)
      asked.done()
      return true
    }
    let settled = plan === undefined
    const leave = () => write('its lease', dropX402Lease(db, { id: payment.id, owner }, new Date(clock())))

    async function settle(): Promise<Settled> {
      if (!plan) {
        return { ok: true, receipt: say.receipt(payment), transaction: payment.txHash ?? undefined }
      }
      deps.crashPoint('exact.served')
      const end = await settleChecked(payment, plan)
      if (end.state === 'settled') {
        settled = true
        const { txHash: transaction } = end
        return { ok: true, receipt: say.receipt({ ...payment, txHash: transaction }), transaction }
      }
      finish({ state: 'released' })
      const reason = end.state === 'failed' ? end.reason : undefined
      return end.state === 'failed' ? say.notSettled(request, payment, reason) : say.pending(payment)
    }

    return {
      kind: 'serve',
      charge: {
        ticket: undefined,
        receipt: '',
        settle,
        // A factory's deployment comes first.
        settleSeconds: deps.settleSeconds * (plan?.deployment ? 2 : 1),
        served(answer) {
          if (!finish(answer && name !== undefined ? { state: 'kept', answer } : { state: 'given' })) return
          answered.set(payment.id, true)
          write('its answer', markX402Answered(db, payment.id, new Date(clock())))
        },
        broken() {
          // What was paid is owed still.
          if (finish({ state: 'broken' })) leave()
        },
        async release() {
          if (!finish({ state: 'released' })) return false
          if (settled) {
            leave()
            return false
          }
          const reason = 'not_served'
          return releaseX402Payment(db, { id: payment.id, owner, reason }).catch(() => false)
        },
      },
    }
  }

  /** Whoever waits is told; what was recorded is seen through by itself. */
  async function settleChecked(payment: X402Payment, plan: TransferPlan): Promise<SettleEnd> {
    try {
      return await settler.settle(payment, plan)
    } catch (err) {
      logger.error({ err, payment: payment.id }, 'a payment by exact could not be settled')
      await dropX402Lease(db, { id: payment.id, owner }, new Date(clock())).catch(() => undefined)
      return { state: 'pending' }
    }
  }

  /** A write that nobody waits for; if it fails the payer may be served once more. */
  function write(what: string, writing: Promise<void>): void {
    writing.catch((err) => logger.warn({ err }, `a payment by exact: ${what} could not be written down`))
  }
}

function nameOf({ service }: PaidRequest, { identifier, authorization }: ExactPayment): string | undefined {
  return identifier === undefined ? undefined : `exact:${service.payee}:${authorization.from}:${identifier}`
}
