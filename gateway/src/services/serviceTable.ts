import type { MerchantCredit, SpendingLimits } from '@protocolbanks/stream-db'
import type { Address, PricedRoute, Pricing } from '@protocolbanks/stream-protocol'

/** One priced API of a merchant, with what one grant may spend at it. Amounts in base units. */
export type Service = SpendingLimits & {
  id: string
  name: string
  merchantId: string
  payee: Address
  token: Address
  price: bigint
  /** What a call costs by x402's `exact`; undefined: it is not taken. */
  exactPrice?: bigint | undefined
  /** How the price of a call comes about; undefined: `price`, whatever happens. Else `price` is the most that is held. */
  pricing?: Pricing | undefined
  /** Other prices for some requests behind the proxy: the first that a request belongs to. */
  routes?: readonly PricedRoute[] | undefined
  /** How long a stream whose voucher is used up waits for the next; undefined: 10 s. */
  voucherGraceMs?: number | undefined
  /** Where the proxy serves it, e.g. `/weather`; no slash at the end. */
  pathPrefix: string
  /** Base URL of the API behind the proxy; undefined when the merchant's own process serves it. */
  upstream: string | undefined
  /** The operator named the upstream: it may be in a private network. */
  upstreamTrusted?: boolean | undefined
  upstreamTimeoutMs: number
  /** What its merchant serves on credit; undefined: whatever grants and accounts allow. */
  credit?: MerchantCredit | undefined
}

export type ServiceTable = {
  /** The service with the longest prefix that holds the path, whole segments only. */
  match(path: string): Service | undefined
  byName(merchantId: string, name: string): Service | undefined
  /** All of them; another list after each time that Postgres was read. */
  all(): readonly Service[]
  /** One service of each merchant with a limit on what all accounts may owe it. */
  limited(): (Service & { credit: MerchantCredit })[]
  /** Reads Postgres again; keeps the old table when that fails. */
  refresh(): Promise<void>
  /**
   * Looks again, in a table as of now, for what was not found: another gateway may have made the service a moment ago.
   * Postgres is asked once a second at most, however much is looked for in vain, and one that is gone finds nothing.
   */
  findAnew(find: () => Service | undefined): Promise<Service | undefined>
}

const findAgainMs = 1_000

/** The services of Postgres in memory. Prices are at most one refresh old. */
export function createServiceTable(load: () => Promise<Service[]>, clock: () => number): ServiceTable {
  let askedAtMs = Number.NEGATIVE_INFINITY
  let asking: Promise<void> | undefined
  let all: readonly Service[] = []
  let byPrefix = new Map<string, Service>()
  let byMerchantAndName = new Map<string, Service>()
  return {
    match(path) {
      let prefix = path
      // Bounded by the number of segments of a URL that Node's HTTP parser accepts.
      while (prefix !== '') {
        const service = byPrefix.get(prefix)
        if (service) return service
        prefix = prefix.slice(0, prefix.lastIndexOf('/'))
      }
      return undefined
    },
    byName(merchantId, name) {
      return byMerchantAndName.get(`${merchantId} ${name}`)
    },
    all: () => all,
    limited() {
      const byMerchant = new Map<string, Service & { credit: MerchantCredit }>()
      for (const service of byPrefix.values()) {
        const { credit } = service
        if (credit?.maxTotal !== undefined) byMerchant.set(service.merchantId, { ...service, credit })
      }
      return [...byMerchant.values()]
    },
    refresh,
    async findAnew(find) {
      if (!asking && clock() - askedAtMs >= findAgainMs) {
        askedAtMs = clock()
        asking = refresh()
          .catch(() => undefined)
          .finally(() => {
            asking = undefined
          })
      }
      await asking
      return find()
    },
  }

  async function refresh(): Promise<void> {
    const services = await load()
    all = services
    byPrefix = new Map(services.map((service) => [service.pathPrefix, service]))
    byMerchantAndName = new Map(services.map((service) => [`${service.merchantId} ${service.name}`, service]))
  }
}
