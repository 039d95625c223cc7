import type { Grant } from '@protocolbanks/stream-db'
import { type Address, packTerms, reserveOf } from '@protocolbanks/stream-protocol'
import { prepaidReserveAbi } from '@protocolbanks/stream-protocol/abi/prepaidReserveAbi'
import { sessionKeyValidatorAbi } from '@protocolbanks/stream-protocol/abi/sessionKeyValidatorAbi'
import { erc20Abi, type PublicClient } from 'viem'
import type { PayFacts } from './explainUnpaid.ts'

export type PayFactsClient = Pick<PublicClient, 'readContract'>

/** What a grant can pay at a block, without the token's own answers; and when its period ends, unix seconds. */
export async function readPayFacts(
  chain: PayFactsClient,
  grant: Grant,
  { module, blockNumber, nowSeconds }: { module: Address; blockNumber: bigint; nowSeconds: number },
): Promise<{ facts: Omit<PayFacts, 'tokenRefuses'>; periodEndsAt: number | undefined }> {
  const { account, grantId, token, source, totalLimit, periodLimit, period, validAfter } = grant
  const [balance, allowance, [pool], [, settled, periodIndex, periodSettled]] = await Promise.all([
    chain.readContract({ address: token, abi: erc20Abi, functionName: 'balanceOf', args: [account], blockNumber }),
    chain.readContract({
      address: token,
      abi: erc20Abi,
      functionName: 'allowance',
      args: [account, module],
      blockNumber,
    }),
    chain.readContract({
      address: reserveOf(module),
      abi: prepaidReserveAbi,
      functionName: 'poolOf',
      args: [account, token],
      blockNumber,
    }),
    chain.readContract({
      address: module,
      abi: sessionKeyValidatorAbi,
      functionName: 'grantState',
      args: [account, grantId],
      blockNumber,
    }),
  ])
  const totalLeft = totalLimit - settled
  if (period === 0) {
    return { facts: { source, balance, allowance, pool, totalLeft, periodLeft: undefined }, periodEndsAt: undefined }
  }
  const current = Math.floor((nowSeconds - validAfter) / period)
  const periodLeft = periodLimit - (periodIndex >= current ? periodSettled : 0n)
  const periodEndsAt = validAfter + (Math.max(current, periodIndex) + 1) * period
  return { facts: { source, balance, allowance, pool, totalLeft, periodLeft }, periodEndsAt }
}

/** What the payee has got under the grant at a block, base units. */
export function readSettled(
  chain: PayFactsClient,
  grant: Grant,
  { module, payee, blockNumber }: { module: Address; payee: Address; blockNumber: bigint },
): Promise<bigint> {
  return chain.readContract({
    address: module,
    abi: sessionKeyValidatorAbi,
    functionName: 'channelSettled',
    args: [grant.account, packTerms(grant), payee],
    blockNumber,
  })
}
