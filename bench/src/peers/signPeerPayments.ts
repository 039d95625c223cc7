import { decodePaymentRequiredHeader, encodePaymentSignatureHeader } from '@x402/core/http'
import type { PaymentRequirements } from '@x402/core/types'
import { computeChannelId, signVoucher } from '@x402/evm/batch-settlement/client'
import { RedisChannelStorage } from '@x402/evm/batch-settlement/server/redis-storage'
import { ExactEvmScheme } from '@x402/evm/exact/client'
import { evm, Mppx } from 'mppx/client'
import { network, paths, payer, priceAtomic, saltOf, tokenDomain, withdrawDelay } from './peerTerms.ts'
import type { Peers } from './startPeers.ts'

// Payments as the stock clients make them, before the clock runs. Each list is of one connection, in its order.

export type Payments = { header: string; perConnection: string[][] }

type Wanted = { connections: number; amount: number }

/**
 * Vouchers of one new channel for each connection. The channel is written to the server's store as a deposit leaves it
 * there, fresh from the chain: so no call of the measurement asks the chain, which is the best case.
 */
export async function signBatchPayments(peers: Peers, wanted: Wanted & { firstChannel: number }): Promise<Payments> {
  const accepted = await offerOf(`${peers.url}${paths.batch}`)
  const { createClient } = await import('redis')
  const redis = createClient({ url: peers.redisUrl })
  await redis.connect()
  try {
    const storage = new RedisChannelStorage({ client: redis as never })
    const perConnection: string[][] = []
    for (let connection = 0; connection < wanted.connections; connection += 1) {
      const channelConfig = {
        payer: payer.address,
        payerAuthorizer: payer.address,
        receiver: peers.payee,
        receiverAuthorizer: String(accepted.extra.receiverAuthorizer) as `0x${string}`,
        token: peers.token,
        withdrawDelay,
        salt: saltOf(wanted.firstChannel + connection),
      }
      const channelId = computeChannelId(channelConfig, network)
      const payments: string[] = []
      for (let call = 1; call <= wanted.amount / wanted.connections; call += 1) {
        const amount = (priceAtomic * BigInt(call)).toString()
        const voucher = await signVoucher(payer, channelId, amount, network)
        const payload = { type: 'voucher', channelConfig, voucher }
        payments.push(encodePaymentSignatureHeader({ x402Version: 2, accepted, payload }))
      }
      perConnection.push(payments)
      const now = Date.now()
      await storage.updateChannel(channelId, () => ({
        channelId,
        channelConfig,
        chargedCumulativeAmount: '0',
        signedMaxClaimable: '0',
        signature: '0x',
        balance: (10n ** 12n).toString(),
        totalClaimed: '0',
        withdrawRequestedAt: 0,
        refundNonce: 0,
        onchainSyncedAt: now,
        lastRequestTimestamp: now,
      }))
    }
    return { header: 'payment-signature', perConnection }
  } finally {
    redis.destroy()
  }
}

export async function signExactPayments(peers: Peers, { connections, amount }: Wanted): Promise<Payments> {
  const accepted = await offerOf(`${peers.url}${paths.exact}`)
  const scheme = new ExactEvmScheme(payer)
  return perConnection('payment-signature', connections, amount, async () => {
    const { payload } = await scheme.createPaymentPayload(2, accepted)
    return encodePaymentSignatureHeader({ x402Version: 2, accepted, payload })
  })
}

/** Each pays a challenge of its own, which is asked for before too. */
export async function signMppPayments(peers: Peers, { connections, amount }: Wanted): Promise<Payments> {
  const client = Mppx.create({
    methods: [evm.charge({ account: payer, authorization: tokenDomain })],
    polyfill: false,
  })
  return perConnection('authorization', connections, amount, async () => {
    const response = await fetch(`${peers.url}${paths.mpp}`)
    await response.body?.cancel()
    return client.createCredential(response)
  })
}

async function perConnection(
  header: string,
  connections: number,
  amount: number,
  sign: () => Promise<string>,
): Promise<Payments> {
  const lists: string[][] = []
  for (let connection = 0; connection < connections; connection += 1) {
    const list: string[] = []
    while (list.length < amount / connections) list.push(await sign())
    lists.push(list)
  }
  return { header, perConnection: lists }
}

async function offerOf(url: string): Promise<PaymentRequirements> {
  const response = await fetch(url)
  await response.body?.cancel()
  const { accepts } = decodePaymentRequiredHeader(response.headers.get('payment-required') ?? '')
  const [offer] = accepts
  if (!offer) throw new Error(`${url} answered ${response.status} and offers nothing.`)
  return offer
}
