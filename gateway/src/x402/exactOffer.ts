import type { TokenDomain } from '@protocolbanks/stream-bundler-client'
import { exactScheme, type PaymentRequirements } from '@protocolbanks/stream-protocol'
import { type Chain, networkOf } from '../payment/chain.ts'
import type { Service } from '../services/serviceTable.ts'

/** How long a client may take from the price to the payment, in seconds; the call and its settlement come on top. */
const clientSeconds = 60

/** The `exact` entry of `accepts` for one call. Undefined when the merchant does not take it. */
export function exactRequirements(
  chain: Chain,
  service: Service,
  { amount, domain, settleSeconds }: { amount: bigint; domain: TokenDomain; settleSeconds: number },
): PaymentRequirements | undefined {
  const { exactPrice } = service
  if (exactPrice === undefined) return undefined
  return {
    scheme: exactScheme,
    network: networkOf(chain),
    amount: (amount > exactPrice ? amount : exactPrice).toString(),
    asset: service.token,
    payTo: service.payee,
    maxTimeoutSeconds: clientSeconds + Math.ceil(service.upstreamTimeoutMs / 1_000) + settleSeconds,
    extra: { name: domain.name, version: domain.version },
  }
}
