import { type Address, BaseError } from '@protocolbanks/stream-protocol'
import type { Logger } from 'pino'
import { erc20Abi, type PublicClient } from 'viem'

export type TokenDecimalsOptions = {
  token: Address
  /** What the merchant says. Undefined: whatever the chain says. */
  expected?: number | undefined
  logger: Pick<Logger, 'warn'>
}

/**
 * How many decimals prices in the token have. The chain says so; what the merchant says has to be the same, and counts alone
 * while the chain does not answer.
 *
 * @throws TokenDecimalsError when the two differ, TokenDecimalsUnknownError when nobody says it
 */
export async function tokenDecimals(
  client: Pick<PublicClient, 'readContract'>,
  { token, expected, logger }: TokenDecimalsOptions,
): Promise<number> {
  let decimals: number
  try {
    decimals = await client.readContract({ address: token, abi: erc20Abi, functionName: 'decimals' })
  } catch (cause) {
    if (expected === undefined) throw new TokenDecimalsUnknownError(token, cause)
    logger.warn({ err: cause, token, expected }, 'the chain does not say how many decimals the token has')
    return expected
  }
  if (expected !== undefined && expected !== decimals) throw new TokenDecimalsError(token, { expected, decimals })
  return decimals
}

export class TokenDecimalsError extends BaseError {
  override readonly code = 'token.decimals_differ'
  constructor(token: Address, { expected, decimals }: { expected: number; decimals: number }) {
    super('The token has other decimals than the prices were written for.', {
      metaMessages: [
        `Token: ${token}`,
        `tokenDecimals: ${expected}, on the chain: ${decimals}`,
        'Check the token and every price, and pass what the chain says.',
      ],
      docsPath: '/errors#token-decimals-differ',
    })
  }
}

export class TokenDecimalsUnknownError extends BaseError {
  override readonly code = 'token.decimals_unknown'
  override readonly retryable = true
  constructor(token: Address, cause: unknown) {
    super('The chain does not say how many decimals the token has.', {
      cause,
      metaMessages: [`Token: ${token}`, 'Check rpcUrl and the token, or pass tokenDecimals.'],
      docsPath: '/errors#token-decimals-unknown',
    })
  }
}
