import { setTimeout as delay } from 'node:timers/promises'
import type { TokenDomain } from '@protocolbanks/stream-bundler-client'
import { type Db, renewX402Leases } from '@protocolbanks/stream-db'
import type { Address, Hex } from '@protocolbanks/stream-protocol'
import type { Logger } from 'pino'
import { Gauge, type Registry } from 'prom-client'
import type { PublicClient } from 'viem'
import { privateKeyToAccount } from 'viem/accounts'
import type { AnswerStore } from '../answers/answerStore.ts'
import type { Chain } from '../payment/chain.ts'
import type { ReceiptSigner } from '../payment/createReceiptSigner.ts'
import { createExactGate } from './exactGate.ts'
import { createExactFacilitator } from './facilitator/exactFacilitator.ts'
import { createRelayer } from './relayer.ts'
import { createSettler } from './settler.ts'
import { readTokenDomain } from './tokenDomain.ts'

export type ExactDeps = {
  db: Db
  chain: Chain
  client: PublicClient
  /** Pays the gas of transfers. Used by gateways alone: its nonces are given out in Postgres. */
  relayerKey: Hex
  factories: readonly Address[]
  maxFeePerGas: bigint
  settleTimeoutMs: number
  stuckMs: number
  maxActive: number
  retryWaitMs: number
  /** Of this process. */
  owner: string
  answers: AnswerStore
  receiptSigner?: ReceiptSigner | undefined
  clock(): number
  logger: Logger
  metrics: Registry
  crashPoint(name: string): void
}

export type Exact = ReturnType<typeof createExact>

const leaseMs = 15_000
const renewMs = 4_000
const lookMs = 150
const tickMs = 1_000

/** Payments by x402's `exact`, with everything they need: docs/adr/0008. */
export function createExact(deps: ExactDeps) {
  const { db, client, chain, clock, logger, owner } = deps
  const account = privateKeyToAccount(deps.relayerKey)
  let domain: TokenDomain | undefined
  const relayer = createRelayer({ ...deps, account, chainId: chain.chainId })
  const settler = createSettler({ ...deps, relayer, timeoutMs: deps.settleTimeoutMs, leaseMs })
  const gate = createExactGate({
    ...deps,
    relayer,
    settler,
    leaseMs,
    domain: () => domain,
    settleSeconds: Math.ceil(deps.settleTimeoutMs / 1_000),
  })
  new Gauge({
    name: 'gateway_relayer_balance_ether',
    help: 'What the relayer has for the gas of payments by exact.',
    registers: [deps.metrics],
    collect() {
      const wei = relayer.balance()
      if (wei !== undefined) this.set(Number(wei / 10n ** 9n) / 1e9)
    },
  })

  return {
    gate,
    relayer,
    settler,
    /** The same for servers elsewhere. */
    createFacilitator: ({ minAmount }: { minAmount: bigint }) =>
      createExactFacilitator({ ...deps, relayer, settler, leaseMs, minAmount, domain: () => domain }),
    /** Sees to transactions, leases and what others left half-way, until it is stopped. */
    async run(signal: AbortSignal): Promise<void> {
      const every = (ms: number, what: string, work: () => Promise<void>) => repeat(ms, what, work, { signal, logger })
      await Promise.all([
        every(lookMs, 'look for receipts', relayer.look),
        every(renewMs, 'renew leases', () => renewX402Leases(db, owner, new Date(clock() + leaseMs))),
        every(tickMs, 'see to transactions', async () => {
          domain ??= await readTokenDomain(client, { token: chain.token, chainId: chain.chainId })
          await relayer.tick()
          await settler.recover()
        }),
      ])
    },
  }
}

/** What fails is done again; a failure that goes on is told once. */
async function repeat(
  ms: number,
  what: string,
  work: () => Promise<void>,
  { signal, logger }: { signal: AbortSignal; logger: Logger },
): Promise<void> {
  let isFailing = false
  while (!signal.aborted) {
    try {
      await work()
      isFailing = false
    } catch (err) {
      if (!isFailing) logger.warn({ err }, `payments by exact: could not ${what}; tried again`)
      isFailing = true
    }
    await delay(ms, undefined, { signal }).catch(() => undefined)
  }
}
