import { setTimeout as delay } from 'node:timers/promises'
import { serve } from '@hono/node-server'
import { createChainClients, devAccounts } from '@protocolbanks/stream-dev'
import { x402Facilitator } from '@x402/core/facilitator'
import type { PaymentPayload, PaymentRequirements } from '@x402/core/types'
import { toFacilitatorEvmSigner } from '@x402/evm'
import { BatchSettlementEvmScheme } from '@x402/evm/batch-settlement/facilitator'
import { ExactEvmScheme } from '@x402/evm/exact/facilitator'
import { Hono } from 'hono'
import { type Hex, TransactionReceiptNotFoundError } from 'viem'
import { privateKeyToAccount } from 'viem/accounts'
import { network } from './peerTerms.ts'

// x402's own facilitator behind HTTP, in a process of its own, as servers of x402 and mppx use one.

const { CHAIN_URL = '', PORT = '0' } = process.env
const account = privateKeyToAccount(devAccounts.relayer.privateKey)
const { publicClient, walletClient } = createChainClients(CHAIN_URL, account)

let sending: Promise<unknown> = Promise.resolve()

/** One transaction is sent after the other: payments that are settled at once would take the same nonce. */
function inTurn<sent>(send: () => Promise<sent>): Promise<sent> {
  const sent = sending.then(send, send)
  sending = sent
  return sent
}

/**
 * Asks again until the block is there, a minute at most. viem's own way waits for the next block when the one it waits for
 * comes while it asks, and on a chain that makes a block of each transaction there is none.
 */
async function receiptOf(hash: Hex) {
  for (let tries = 0; tries < 3_000; tries += 1) {
    try {
      return await publicClient.getTransactionReceipt({ hash })
    } catch (error) {
      if (!(error instanceof TransactionReceiptNotFoundError)) throw error
      await delay(20)
    }
  }
  throw new Error(`There is no receipt of ${hash} after a minute.`)
}

const signer = toFacilitatorEvmSigner({
  address: account.address,
  readContract: (args) => publicClient.readContract(args as never),
  verifyTypedData: (args) => publicClient.verifyTypedData(args as never),
  writeContract: (args) => inTurn(() => walletClient.writeContract(args as never)),
  sendTransaction: (args) => inTurn(() => walletClient.sendTransaction(args as never)),
  waitForTransactionReceipt: ({ hash }) => receiptOf(hash),
  getCode: (args) => publicClient.getCode(args),
})
const facilitator = new x402Facilitator()
  .register(network, new ExactEvmScheme(signer))
  .register(network, new BatchSettlementEvmScheme(signer))

type Asked = { paymentPayload: PaymentPayload; paymentRequirements: PaymentRequirements }

const app = new Hono()
app.get('/supported', (c) => c.json(facilitator.getSupported()))
app.post('/verify', async (c) => {
  const { paymentPayload, paymentRequirements } = await c.req.json<Asked>()
  return c.json(await facilitator.verify(paymentPayload, paymentRequirements))
})
app.post('/settle', async (c) => {
  const { paymentPayload, paymentRequirements } = await c.req.json<Asked>()
  return c.json(await facilitator.settle(paymentPayload, paymentRequirements))
})
app.get('/cpu', (c) => c.json(process.cpuUsage()))

const server = serve({ fetch: app.fetch, hostname: '127.0.0.1', port: Number(PORT) })
process.on('SIGTERM', () => {
  server.close()
  process.exit(0)
})
