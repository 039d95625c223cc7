import { randomUUID } from 'node:crypto'
import { type Db, ensureChannel, getGrant, listAllServices } from '@protocolbanks/stream-db'
import { createAnswerStore } from '../../answers/answerStore.ts'
import { createGrantDirectory } from '../../grants/grantDirectory.ts'
import type { AccountMirror } from '../../indexer/accountMirror.ts'
import type { Meter } from '../../meter/meter.ts'
import type { Chain } from '../../payment/chain.ts'
import { createChargesApi } from '../../payment/chargesApi.ts'
import { createPaymentGate } from '../../payment/paymentGate.ts'
import { createServiceTable } from '../../services/serviceTable.ts'
import { chargingCaller } from '../chargingCaller.ts'

/** The charges API beside the management API: the same keys, services and grants, and a chain that was seen just now. */
export function createTestCharges({
  db,
  meter,
  chain,
  mirror,
}: {
  db: Db
  meter: Meter
  chain: Chain
  mirror: Pick<AccountMirror, 'restoreAccount'>
}): ReturnType<typeof createChargesApi> {
  const grants = createGrantDirectory({
    load: (grantId) => getGrant(db, grantId),
    openChannel: ({ proof, ...channel }) => ensureChannel(db, { ...channel, payeeProof: proof }),
    maxGrants: 100,
    unknownTtlMs: 1_000,
  })
  const gate = createPaymentGate({
    chain,
    meter,
    grants,
    answers: createAnswerStore({ maxBytes: 1_000_000, ttlMs: 600_000 }),
    mirrorAccount: mirror.restoreAccount,
    chainAgeMs: () => 0,
    maxChainAgeMs: 30_000,
    instance: 'gateway-1',
    settlementMarginSeconds: 600,
    retryWaitMs: 2_000,
    now: Date.now,
  })
  return createChargesApi({
    gate,
    services: createServiceTable(() => listAllServices(db), Date.now),
    merchantOf: async (authorization) => (await chargingCaller(db, authorization))?.merchantId ?? undefined,
    createTicketId: randomUUID,
    outcomeTimeoutMs: 60_000,
  })
}
