import type { Address, Hex } from '@protocolbanks/stream-protocol'
import { http } from 'viem'
import { createPaymasterClient } from 'viem/account-abstraction'
import { SponsorUnavailableError } from '../errors/sponsorErrors.ts'
import { toSponsorError } from '../errors/toSponsorError.ts'
import type { OperationContext } from '../userOperation/hashUserOperation.ts'
import { toViemUserOperation } from '../userOperation/toViemUserOperation.ts'
import type { UserOperation } from '../userOperation/userOperation.ts'
import { withHeaders } from './withHeaders.ts'

export type PaymasterFields = {
  paymaster: Address
  paymasterData: Hex
  paymasterVerificationGasLimit: bigint
  paymasterPostOpGasLimit: bigint
}

/** A paymaster service (ERC-7677). Everything throws the errors of sponsorErrors.ts. */
export type Sponsor = {
  /** Fields of the right size for gas estimation. */
  stub(op: UserOperation): Promise<PaymasterFields>
  /** The fields to send with: after this nothing but `signature` may change. */
  sponsor(op: UserOperation): Promise<PaymasterFields>
}

export type SponsorOptions = OperationContext & {
  url: string
  /** Sent as a bearer token. */
  apiKey: string
  /** ERC-7677 context, e.g. `{ merchantId }`. */
  context?: Record<string, string> | undefined
  /** Of one call; 10,000 by default. */
  timeoutMs?: number | undefined
  /** More headers for each call, asked at the call: W3C `traceparent`. */
  headers?: (() => Record<string, string>) | undefined
}

export function createSponsor({
  url,
  apiKey,
  chainId,
  entryPoint,
  context,
  timeoutMs = 10_000,
  headers,
}: SponsorOptions): Sponsor {
  const client = createPaymasterClient({
    transport: http(url, {
      retryCount: 0,
      timeout: timeoutMs,
      // In a header, because errors and logs show addresses.
      fetchOptions: { headers: { authorization: `Bearer ${apiKey}` } },
      ...withHeaders(headers),
    }),
  })
  const parametersOf = (op: UserOperation) => ({
    ...toViemUserOperation(op),
    chainId,
    entryPointAddress: entryPoint.address,
    context,
  })
  return {
    stub: (op) => mapErrors(async () => toFields(await client.getPaymasterStubData(parametersOf(op)))),
    sponsor: (op) => mapErrors(async () => toFields(await client.getPaymasterData(parametersOf(op)))),
  }
}

function toFields(answer: {
  paymaster?: Address | undefined
  paymasterData?: Hex | undefined
  paymasterVerificationGasLimit?: bigint | undefined
  paymasterPostOpGasLimit?: bigint | undefined
}): PaymasterFields {
  const { paymaster, paymasterData, paymasterVerificationGasLimit, paymasterPostOpGasLimit = 0n } = answer
  if (!paymaster || !paymasterData || paymasterVerificationGasLimit === undefined) {
    throw new SponsorUnavailableError({
      detail: 'Its answer lacks paymaster, paymasterData or paymasterVerificationGasLimit.',
    })
  }
  return { paymaster, paymasterData, paymasterVerificationGasLimit, paymasterPostOpGasLimit }
}

async function mapErrors<T>(call: () => Promise<T>): Promise<T> {
  try {
    return await call()
  } catch (error) {
    throw toSponsorError(error)
  }
}
