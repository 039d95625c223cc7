import {
  type PaymentPayload,
  type PaymentRequirements,
  paymentPayloadSchema,
  paymentRequirementsSchema,
} from '@protocolbanks/stream-protocol'
import { z } from 'zod'

/** What is asked of a facilitator, of either version of x402, in the words of the newer. */
export type FacilitatorRequest = {
  payload: PaymentPayload
  requirements: PaymentRequirements
  /** As the caller named it: answers repeat it. */
  network: string
}

/** Names that version 1 of x402 has for EVM chains, as its reference implementation lists them. */
const chainsOfV1: Record<string, number> = {
  ethereum: 1,
  sepolia: 11_155_111,
  base: 8_453,
  'base-sepolia': 84_532,
  polygon: 137,
  'polygon-amoy': 80_002,
  avalanche: 43_114,
  'avalanche-fuji': 43_113,
  celo: 42_220,
}

/** The name of a chain in version 1; undefined when it has none. */
export function nameInV1(chainId: number): string | undefined {
  return Object.entries(chainsOfV1).find(([, id]) => id === chainId)?.[0]
}

const v2Schema = z.looseObject({
  x402Version: z.literal(2).optional(),
  paymentPayload: paymentPayloadSchema,
  paymentRequirements: paymentRequirementsSchema,
})

const v1Schema = z.looseObject({
  paymentPayload: z.looseObject({
    x402Version: z.literal(1),
    scheme: z.string().max(64),
    network: z.string().max(64),
    payload: z.record(z.string(), z.unknown()),
  }),
  paymentRequirements: z
    .looseObject({
      maxAmountRequired: z.string().max(78),
      network: z.string().max(64),
      resource: z.string().max(2_048).optional(),
    })
    .transform(({ maxAmountRequired, ...requirements }) => ({ ...requirements, amount: maxAmountRequired }))
    .pipe(paymentRequirementsSchema),
})

/** Untrusted body to what is asked, or one sentence that says what is wrong with it. */
export function readFacilitatorRequest(
  body: unknown,
): { ok: true; request: FacilitatorRequest } | { ok: false; detail: string } {
  const v2 = v2Schema.safeParse(body)
  if (v2.success) {
    const { paymentPayload: payload, paymentRequirements: requirements } = v2.data
    return { ok: true, request: { payload, requirements, network: requirements.network } }
  }
  const v1 = v1Schema.safeParse(body)
  if (v1.success) return { ok: true, request: fromV1(v1.data) }
  const isV1 = (body as { paymentPayload?: { x402Version?: unknown } } | undefined)?.paymentPayload?.x402Version === 1
  const [issue] = (isV1 ? v1 : v2).error.issues
  return { ok: false, detail: `${issue?.path.join('.') || 'body'}: ${issue?.message}` }
}

/** Version 1 has no `accepted`: what was asked is what was agreed to, but for the scheme and the chain. */
function fromV1({ paymentPayload, paymentRequirements }: z.output<typeof v1Schema>): FacilitatorRequest {
  const requirements = { ...paymentRequirements, network: toCaip2(paymentRequirements.network) }
  const { scheme, network, payload } = paymentPayload
  const accepted = { ...requirements, scheme, network: toCaip2(network) }
  return { payload: { x402Version: 2, accepted, payload }, requirements, network: paymentRequirements.network }
}

function toCaip2(network: string): string {
  const chainId = Object.hasOwn(chainsOfV1, network) ? chainsOfV1[network] : undefined
  return chainId === undefined ? network : `eip155:${chainId}`
}
