import {
  type Db,
  getMerchant,
  getMerchantCredit,
  type MerchantCredit,
  setMerchantCredit,
} from '@protocolbanks/stream-db'
import { type Address, formatAmount } from '@protocolbanks/stream-protocol'
import { Hono } from 'hono'
import type { Logger } from 'pino'
import { z } from 'zod'
import { MeterUnavailableError } from '../meter/errors.ts'
import { type Meter, maxMeterAmount } from '../meter/meter.ts'
import type { Chain } from '../payment/chain.ts'
import { writeRefusal } from './auditRefusals.ts'
import { type ApiEnv, asCaller, type Caller } from './caller.ts'
import { unknownMerchant } from './merchantRoutes.ts'
import { describeCredit } from './openapi/operations/merchantOperations.ts'
import { amountSchema, idOf } from './schemas.ts'
import { validBody } from './validate.ts'

export type CreditRoutesDeps = {
  db: Db
  meter: Pick<Meter, 'exposureOf'>
  chain: Pick<Chain, 'token'>
  logger: Logger
  tokenDecimals: number
  services: { invalidate(): void | Promise<void> }
}

/**
 * What a merchant serves on credit, at `/:id/credit`: chosen by the merchant or the operator, for all of the merchant's
 * services. Every gateway keeps to a change within a second. Amounts as elsewhere: decimal strings of the token.
 */
export function createCreditRoutes(deps: CreditRoutesDeps): Hono<ApiEnv> {
  const { db, meter, chain, logger, tokenDecimals, services } = deps
  const routes = new Hono<ApiEnv>()
  const limit = amountSchema(tokenDecimals, maxMeterAmount).nullish()
  const policySchema = z.discriminatedUnion('mode', [
    z.strictObject({ mode: z.literal('reserve_only') }),
    /** Null, or left out: no limit. */
    z.strictObject({ mode: z.literal('credit'), maxTotal: limit, maxPerAccount: limit, maxPerGrant: limit }),
  ])

  routes.get('/:id/credit', async (c) => {
    const id = c.req.param('id')
    const found = await find(c.get('caller'), id)
    return found ? c.json(await view(found.merchantId, found.payee, found.credit)) : unknownMerchant(id)
  })

  routes.put('/:id/credit', async (c) => {
    const id = c.req.param('id')
    const caller = c.get('caller')
    const policy = await validBody(c, policySchema)
    const found = await find(caller, id)
    if (!found) {
      const refusal = { action: 'credit_change', subject: id, errorCode: 'merchant.unknown' }
      await writeRefusal({ db, logger }, { ...refusal, actor: caller.actor })
      return unknownMerchant(id)
    }
    const { merchantId, payee } = found
    const limits =
      policy.mode === 'credit'
        ? {
            maxTotal: policy.maxTotal ?? undefined,
            maxPerAccount: policy.maxPerAccount ?? undefined,
            maxPerGrant: policy.maxPerGrant ?? undefined,
          }
        : {}
    // As the service: the audit is nothing that a merchant may write to. Whose row it is was asked above.
    const changed = await setMerchantCredit(db, { mode: policy.mode, ...limits, merchantId, actor: caller.actor })
    if (!changed) return unknownMerchant(id)
    await services.invalidate()
    return c.json(await view(merchantId, payee, changed))
  })

  /** Of a merchant that the caller sees: itself, or any for the operator. */
  async function find(caller: Caller, id: string) {
    const merchantId = idOf('mer', id)
    if (!merchantId) return undefined
    return asCaller(db, caller, async (queryable) => {
      const merchant = await getMerchant(queryable, merchantId)
      return merchant && { merchantId, payee: merchant.payee, credit: await getMerchantCredit(queryable, merchantId) }
    })
  }

  async function view(merchantId: string, payee: Address, { mode, version, ...limits }: MerchantCredit) {
    const { maxTotal, maxPerAccount, maxPerGrant } = limits
    const amounts = { maxTotal, maxPerAccount, maxPerGrant, owed: await owedTo(payee) }
    const fields = Object.entries(amounts).flatMap(([name, amount]) => [
      [name, amount === undefined ? null : formatAmount(amount, tokenDecimals)],
      [`${name}Atomic`, amount?.toString() ?? null],
    ])
    return { merchantId, mode, version, ...Object.fromEntries(fields) }
  }

  /** Undefined while the meter does not answer. */
  async function owedTo(payee: Address): Promise<bigint | undefined> {
    try {
      return await meter.exposureOf(chain.token, payee)
    } catch (error) {
      if (error instanceof MeterUnavailableError) return undefined
      throw error
    }
  }

  describeCredit(routes, { policy: policySchema })
  return routes
}
