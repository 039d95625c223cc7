import {
  createMerchant,
  createService,
  type Db,
  getMerchantByPayee,
  listAllServices,
  PayeeTakenError,
  ServiceTakenError,
  updateService,
} from '@protocolbanks/stream-db'
import { type Address, parseAmount } from '@protocolbanks/stream-protocol'

export type EmbeddedMerchant = {
  merchant: { name: string; payee: Address }
  /**
   * What is sold: the price of a call in the token's units, and the path under which the merchant's server serves it, which
   * an agent that has paid once takes the price for. `/` and the name by default.
   */
  services: readonly { name: string; price: string; path?: string | undefined }[]
}

/**
 * The merchant and its services in its own Postgres: made at the first start, and their prices brought up to date at each.
 * Any number of processes may do so at once. Answers the merchant's id.
 *
 * @throws ServiceTakenError
 */
export async function ensureMerchant(
  db: Db,
  { merchant, services }: EmbeddedMerchant,
  { token, decimals }: { token: Address; decimals: number },
): Promise<string> {
  const { id: merchantId } = await findOrCreate(db, merchant)
  for (const { name, price: text, path = `/${name}` } of services) {
    const price = parseAmount(text, decimals)
    const find = async () =>
      (await listAllServices(db)).find((service) => service.merchantId === merchantId && service.name === name)
    let known = await find()
    if (!known) {
      try {
        await createService(db, { merchantId, name, pathPrefix: path, price, token })
        continue
      } catch (error) {
        if (!(error instanceof ServiceTakenError)) throw error
        // Another process was faster.
        known = await find()
        if (!known) throw error
      }
    }
    if (known.price !== price || known.pathPrefix !== path) {
      await updateService(db, known.id, { price, pathPrefix: path })
    }
  }
  return merchantId
}

async function findOrCreate(db: Db, merchant: EmbeddedMerchant['merchant']): Promise<{ id: string }> {
  const known = await getMerchantByPayee(db, merchant.payee)
  if (known) return known
  try {
    return await createMerchant(db, merchant)
  } catch (error) {
    const other = error instanceof PayeeTakenError ? await getMerchantByPayee(db, merchant.payee) : undefined
    if (!other) throw error
    return other
  }
}
