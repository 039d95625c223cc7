import {
  formatPricing,
  type PricedRoute,
  type Pricing,
  type PricingJson,
  type Rate,
  type RateJson,
} from '@protocolbanks/stream-protocol'

/** A route as the column `routes` has it. Prices in base units. */
export type PricedRouteJson = {
  method?: string | undefined
  path: string
  query?: Readonly<Record<string, string>> | undefined
  price: string
  pricing: PricingJson
  exactPrice?: string | undefined
}

/** What the column says; it was checked before it was written, so it is not checked once more at every reading. */
export function fromPricingColumn(json: PricingJson): Pricing {
  switch (json.kind) {
    case 'call':
      return json
    case 'unit':
      return { kind: 'unit', unit: json.unit, rate: fromRate(json.rate) }
    case 'token':
      return { kind: 'token', input: fromRate(json.input), output: fromRate(json.output) }
    default:
      return { kind: json.kind, rate: fromRate(json.rate) }
  }
}

export function toPricingColumn(pricing: Pricing): PricingJson {
  return formatPricing(pricing, 0)
}

export function fromRoutesColumn(routes: readonly PricedRouteJson[]): PricedRoute[] {
  return routes.map(({ method, path, query, price, pricing, exactPrice }) => ({
    method,
    path,
    query,
    price: BigInt(price),
    pricing: fromPricingColumn(pricing),
    exactPrice: exactPrice === undefined ? undefined : BigInt(exactPrice),
  }))
}

export function toRoutesColumn(routes: readonly PricedRoute[]): PricedRouteJson[] {
  return routes.map(({ price, pricing, exactPrice, ...route }) => ({
    ...route,
    price: price.toString(),
    pricing: toPricingColumn(pricing),
    exactPrice: exactPrice?.toString(),
  }))
}

function fromRate({ price, per }: RateJson): Rate {
  return { price: BigInt(price), per: BigInt(per) }
}
