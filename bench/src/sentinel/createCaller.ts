import { randomUUID } from 'node:crypto'
import { Agent, request } from 'node:http'
import {
  type Address,
  createVoucherHasher,
  decodeHeader,
  encodeHeader,
  type Hex,
  paymentIdentifierKey,
  paymentRequiredHeader,
  paymentRequiredSchema,
  paymentSignatureHeader,
  signVoucher,
  x402Version,
} from '@protocolbanks/stream-protocol'
import type { OpenGrant } from './openGrants.ts'

/** Pays for calls under many grants, over kept connections: a voucher is signed for each, which takes 0.1 ms. */
export type Caller = {
  /** The status of the answer; the voucher covers every call of this grant so far. */
  call(grant: OpenGrant): Promise<number>
  close(): void
}

export type CallerOptions = {
  /** Of a route that costs the same each time. */
  url: string
  payee: Address
  chainId: number
  module: Hex
  connections: number
}

export async function createCaller({ url, payee, chainId, module, connections }: CallerOptions): Promise<Caller> {
  const asked = await fetch(url)
  await asked.body?.cancel()
  const required = decodeHeader(asked.headers.get(paymentRequiredHeader) ?? '', paymentRequiredSchema)
  const [accepted] = required.ok ? required.value.accepts : []
  if (!accepted) throw new Error(`${url} was answered ${asked.status} without an offer.`)
  const price = BigInt(accepted.amount)
  const hash = createVoucherHasher({ chainId, module })
  const agent = new Agent({ keepAlive: true, maxSockets: connections })
  const calls = new Map<string, number>()

  return {
    call({ grantId, sessionKey }) {
      const count = (calls.get(grantId) ?? 0) + 1
      calls.set(grantId, count)
      const cumulativeAmount = price * BigInt(count)
      const { signature } = signVoucher(hash, sessionKey, { grantId, payee, cumulativeAmount })
      const payment = encodeHeader({
        x402Version,
        accepted,
        payload: { grantId, cumulativeAmount: cumulativeAmount.toString(), signature },
        extensions: { [paymentIdentifierKey]: { info: { id: randomUUID() } } },
      })
      return send(url, agent, payment)
    },
    close: () => agent.destroy(),
  }
}

function send(url: string, agent: Agent, payment: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const asked = request(url, { agent, headers: { [paymentSignatureHeader]: payment } }, (answer) => {
      answer.resume()
      answer.on('end', () => resolve(answer.statusCode ?? 0))
      answer.on('error', reject)
    })
    asked.on('error', (error: NodeJS.ErrnoException) => {
      // The server closed the connection just as it was used again; with the same request id the call is made once.
      if (asked.reusedSocket && error.code === 'ECONNRESET') send(url, agent, payment).then(resolve, reject)
      else reject(error)
    })
    asked.end()
  })
}
