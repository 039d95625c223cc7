import { type PartialUserOperation, partialRpcUserOperationSchema } from '@protocolbanks/stream-bundler-client'
import { type Address, addressSchema } from '@protocolbanks/stream-protocol'
import { isAddressEqual, numberToHex } from 'viem'
import { z } from 'zod'
import type { Caller } from '../policy/decideSponsorship.ts'
import { refuse } from '../policy/refusal.ts'
import type { Answer, SponsorRequest, SponsorService } from '../sponsorService.ts'
import type { RpcMethod } from './handleJsonRpc.ts'
import { RpcError, refusalError, rpcCodes } from './rpcError.ts'

export type SponsorMethodsDeps = {
  chainId: number
  /** One for each EntryPoint that is sponsored. */
  services: readonly { entryPoint: Address; service: SponsorService }[]
  /** Told of every answer, for metrics. `outcome` is `sponsored` or the code of the refusal. */
  onAnswer(answer: { method: string; kind: string; outcome: string }): void
}

const contextSchema = z
  .looseObject({ merchantId: z.string().max(64).optional() })
  .nullish()
  .transform((context) => context ?? {})

const chainIdSchema = z
  .string()
  .regex(/^0x[0-9a-fA-F]{1,16}$/, 'must be a hex chain id')
  .transform(Number)

// ERC-7677: [userOp, entryPoint, chainId, context]
const erc7677Schema = z.tuple([partialRpcUserOperationSchema, addressSchema, chainIdSchema]).rest(z.unknown())
// Pimlico's: [userOp, entryPoint, context]
const pimlicoSchema = z.tuple([partialRpcUserOperationSchema, addressSchema]).rest(z.unknown())

type Answering = (service: SponsorService, request: SponsorRequest) => Promise<Answer<object>>

/** ERC-7677's two methods, and Pimlico's one for clients that want gas and sponsorship in one call. */
export function createSponsorMethods(deps: SponsorMethodsDeps): Record<string, RpcMethod<Caller>> {
  const { services, chainId, onAnswer } = deps

  function erc7677(method: string, answer: Answering): RpcMethod<Caller> {
    return async (params, caller) => {
      const [op, entryPointOfOp, chainIdOfOp, context] = parse(erc7677Schema, params)
      if (chainIdOfOp !== chainId) {
        const reason = `The operation is for chain ${chainIdOfOp}; this paymaster is on ${chainId}.`
        throw refusalError(refuse('sponsor.wrong_chain', reason, { chainId: chainIdOfOp }))
      }
      return run({ method, answer, caller, op, entryPointOfOp, context })
    }
  }

  async function run(call: {
    method: string
    answer: Answering
    caller: Caller
    op: PartialUserOperation
    entryPointOfOp: Address
    context: unknown
  }): Promise<unknown> {
    const { method, answer, caller, op, entryPointOfOp } = call
    const place = services.find(({ entryPoint }) => isAddressEqual(entryPoint, entryPointOfOp))
    if (!place) {
      const sponsored = services.map(({ entryPoint }) => entryPoint).join(' and ')
      const reason = `The operation is for the EntryPoint ${entryPointOfOp}; sponsored is ${sponsored}.`
      throw refusalError(refuse('sponsor.wrong_entry_point', reason, { entryPoint: entryPointOfOp }))
    }
    const { merchantId } = parse(contextSchema, call.context, 'context')
    const result = await answer(place.service, { op, caller, contextMerchantId: merchantId })
    if (!result.ok) {
      onAnswer({ method, kind: 'none', outcome: result.refusal.code })
      throw refusalError(result.refusal)
    }
    onAnswer({ method, kind: result.kind, outcome: 'sponsored' })
    return toRpcFields(result.fields)
  }

  return {
    pm_getPaymasterStubData: erc7677('pm_getPaymasterStubData', (service, request) => service.stub(request)),
    pm_getPaymasterData: erc7677('pm_getPaymasterData', (service, request) => service.sponsor(request)),
    pm_sponsorUserOperation: async (params, caller) => {
      const [op, entryPointOfOp, context] = parse(pimlicoSchema, params)
      const method = 'pm_sponsorUserOperation'
      const answer: Answering = (service, request) => service.sponsorWithGas(request)
      return run({ method, answer, caller, op, entryPointOfOp, context })
    },
  }
}

function parse<schema extends z.ZodType>(schema: schema, value: unknown, name = 'params'): z.output<schema> {
  const parsed = schema.safeParse(value)
  if (parsed.success) return parsed.data
  const problems = parsed.error.issues.slice(0, 5).map(({ path, message }) => `${[name, ...path].join('.')} ${message}`)
  throw new RpcError(rpcCodes.invalidParams, problems.join('; '), { code: 'sponsor.invalid_params', retryable: false })
}

function toRpcFields(fields: object): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(fields).map(([name, value]) => [name, typeof value === 'bigint' ? numberToHex(value) : value]),
  )
}
