import { randomUUID } from 'node:crypto'
import {
  createVoucherHasher,
  encodeHeader,
  type Hex,
  payeeRootOf,
  paymentSignatureHeader,
  signVoucher,
} from '@protocolbanks/stream-protocol'
import { createTracing } from '@protocolbanks/stream-runtime'
import { Hono } from 'hono'
import { pino } from 'pino'
import { Registry } from 'prom-client'
import { Agent } from 'undici'
import { getAddress } from 'viem'
import { privateKeyToAccount } from 'viem/accounts'
import { createAnswerStore } from '../../answers/answerStore.ts'
import { createApp } from '../../app.ts'
import { createGrantDirectory } from '../../grants/grantDirectory.ts'
import { createEmbeddedMeter } from '../../meter/embedded.ts'
import type { AccountState, Meter } from '../../meter/meter.ts'
import { createProxy } from '../../proxy/proxy.ts'
import type { UpstreamGuard } from '../../proxy/upstreamGuard.ts'
import { createServiceTable, type Service } from '../../services/serviceTable.ts'
import { traceRequests } from '../../tracing/traceRequests.ts'
import type { Chain } from '../chain.ts'
import { sessionRequirements } from '../offer.ts'
import { createPaymentGate } from '../paymentGate.ts'
import { paymentMiddleware } from '../paymentMiddleware.ts'

const addressOf = (digit: string) => getAddress(`0x${digit.repeat(40)}`)

export const sessionKey: Hex = `0x${'5e'.repeat(32)}`
export const chain: Chain = {
  chainId: 31_337,
  module: addressOf('a'),
  settler: addressOf('b'),
  token: addressOf('c'),
  entryPoint: addressOf('d'),
}
export const account = addressOf('1')
export const grantId: Hex = `0x${'ab'.repeat(32)}`
export const payee = addressOf('2')
export const price = 10_000n

export type TestGateway = ReturnType<typeof createTestGateway>

type Options = {
  upstream?: string | undefined
  /** Of the grant; one payee by default. */
  payees?: `0x${string}`[]
  service?: Partial<Service>
  meter?: Meter
  instance?: string
  guard?: UpstreamGuard
}

/** The gateway's request path with an embedded meter and one grant of 1 USDC; Postgres and the chain are values here. */
export function createTestGateway({
  upstream,
  payees = [payee],
  service: change,
  meter: given,
  instance = 'gateway-1',
  guard,
}: Options = {}) {
  const state = { nowMs: Date.now(), chainAgeMs: 0, mirrored: 0 }
  const meter = given ?? createEmbeddedMeter({ clock: () => state.nowMs, instance })
  const service: Service = {
    id: 'svc_weather',
    name: 'weather',
    merchantId: 'mer_1',
    payee,
    token: chain.token,
    price,
    pathPrefix: '/weather',
    upstream,
    upstreamTimeoutMs: 5_000,
    maxAmountPerCall: undefined,
    maxCallsPerMinute: undefined,
    ...change,
  }
  const accountState: AccountState = {
    account,
    token: chain.token,
    block: 1n,
    funds: { allowance: 1_000_000n, reserve: 0n },
    grants: [
      {
        grantId,
        source: 'allowance',
        status: 'active',
        validAfter: Math.floor(state.nowMs / 1000) - 60,
        validUntil: Math.floor(state.nowMs / 1000) + 86_400,
        totalLimit: 1_000_000n,
        periodLimit: 0n,
        period: 0,
        settled: 0n,
        periodIndex: 0,
        periodSettled: 0n,
        channels: [],
      },
    ],
  }
  const grants = createGrantDirectory({
    async load(id) {
      if (id !== grantId) return undefined
      const { address } = privateKeyToAccount(sessionKey)
      const terms = { token: chain.token, source: 'allowance', payeeRoot: payeeRootOf(payees) } as const
      return { grantId, account, sessionKey: address, ...terms }
    },
    async openChannel() {},
    maxGrants: 10,
    unknownTtlMs: 1000,
  })
  const services = createServiceTable(
    async () => [service],
    () => state.nowMs,
  )
  const gate = createPaymentGate({
    chain,
    meter,
    grants,
    answers: createAnswerStore({ maxBytes: 1_000_000, ttlMs: 600_000 }),
    async mirrorAccount() {
      state.mirrored++
      await meter.mirror(accountState)
      return true
    },
    chainAgeMs: () => state.chainAgeMs,
    maxChainAgeMs: 30_000,
    instance,
    settlementMarginSeconds: 600,
    retryWaitMs: 60_000,
    now: () => state.nowMs,
  })
  const serviceOf = (path: string) => services.match(path)
  const dispatcher = new Agent()
  const outcomes: string[] = []
  const logger = pino({ level: 'silent' })
  const tracing = createTracing({ service: 'gateway', endpoint: undefined, ratio: 0, logger })
  const app = createApp({
    ownerOrigins: [],
    api: new Hono(),
    charges: new Hono(),
    payment: paymentMiddleware({
      gate,
      serviceOf,
      publicUrl: 'http://gateway.test',
      onOutcome: (outcome) => outcomes.push(outcome),
    }),
    proxy: createProxy({ dispatcherOf: guard?.dispatcherOf ?? (() => dispatcher) }),
    trace: traceRequests({ tracing, clock: () => state.nowMs, createId: randomUUID }),
    readiness: async () => ({}),
    registry: new Registry(),
    logger,
  })
  return { app, gate, services, meter, service, state, accountState, outcomes, ready: () => services.refresh() }
}

const hash = createVoucherHasher(chain)
let requests = 0

type PaymentChange = {
  accepted?: Record<string, unknown>
  payload?: Record<string, unknown>
  extensions?: Record<string, unknown> | undefined
  key?: Hex
  grantId?: Hex
}

/** PAYMENT-SIGNATURE for a cumulative amount, well formed but for what `change` says. */
export function payment(
  service: Service,
  cumulativeAmount: bigint,
  requestId = newRequestId(),
  change: PaymentChange = {},
): string {
  const id = change.grantId ?? grantId
  const { signature } = signVoucher(hash, change.key ?? sessionKey, {
    grantId: id,
    payee: service.payee,
    cumulativeAmount,
  })
  return encodeHeader({
    x402Version: 2,
    accepted: { ...sessionRequirements(chain, service, service.price), ...change.accepted },
    payload: { grantId: id, cumulativeAmount: cumulativeAmount.toString(), signature, ...change.payload },
    extensions: 'extensions' in change ? change.extensions : { 'payment-identifier': { info: { id: requestId } } },
  })
}

export function newRequestId(): string {
  requests++
  return `request-${String(requests).padStart(16, '0')}`
}

export function paid(header: string): RequestInit & { headers: Record<string, string> } {
  return { headers: { [paymentSignatureHeader]: header } }
}
