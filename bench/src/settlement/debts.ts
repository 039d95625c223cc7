import { appendCharges, type ChargeEvent, type Db } from '@protocolbanks/stream-db'
import {
  type Budget,
  type ChainClients,
  createChainClients,
  grantBudget,
  managementApi,
  type Stack,
} from '@protocolbanks/stream-dev'
import { type Address, createVoucherHasher, signVoucher } from '@protocolbanks/stream-protocol'
import { parseEther } from 'viem'
import { generatePrivateKey, privateKeyToAccount, privateKeyToAddress } from 'viem/accounts'

/** A merchant, and accounts that each gave an agent a budget for them. */
export type Debtors = { payee: Address; merchantId: string; serviceId: string; budgets: Budget[] }

/** What one account is charged in a round, base units: the threshold of its service. */
export const debtAtomic = 10_000n
/** Owners' operations at once. */
const atOnce = 8

export async function createDebtors(stack: Stack, accounts: number): Promise<Debtors> {
  const payee = privateKeyToAddress(generatePrivateKey())
  const operator = managementApi(stack.gateway.url, stack.operatorApiKey)
  const { id: merchantId } = await operator.post<{ id: string }>('/merchants', { name: 'bench', payee })
  const { key } = await operator.post<{ key: string }>('/api-keys', { merchantId, name: 'bench' })
  const service = { name: 'bench', pathPrefix: '/bench', upstream: null, price: '0.01', threshold: '0.01' }
  const { id: serviceId } = await managementApi(stack.gateway.url, key).post<{ id: string }>('/services', service)
  const options = { payees: [payee], amountAtomic: 1_000_000n, days: 30, paymasterApiKey: stack.operatorApiKey }
  const budgets: Budget[] = []
  let left = accounts
  // Whoever mints the coins is somebody else in each, because nonces follow each other.
  const giveBudgets = async (clients: ChainClients) => {
    while (left-- > 0) budgets.push(await grantBudget({ ...stack, clients }, options))
  }
  const minters: ChainClients[] = []
  while (minters.length < atOnce) minters.push(await createMinter(stack))
  await Promise.all(minters.map(giveBudgets))
  return { payee, merchantId, serviceId, budgets }
}

/** A key of its own with ether for gas. */
async function createMinter({ clients: { walletClient, publicClient }, chain }: Stack): Promise<ChainClients> {
  const account = privateKeyToAccount(generatePrivateKey())
  const hash = await walletClient.sendTransaction({ to: account.address, value: parseEther('1') })
  await publicClient.waitForTransactionReceipt({ hash })
  return createChainClients(chain.url, account)
}

/** Journals one charge for each account, with a voucher for all that was charged so far. */
export async function chargeAll(
  stack: Stack,
  db: Db,
  { payee, merchantId, serviceId, budgets }: Debtors,
  round: number,
): Promise<void> {
  const hash = createVoucherHasher({ chainId: stack.chain.chainId, module: stack.contracts.sessionKeyValidator })
  const cumulativeAmount = debtAtomic * BigInt(round)
  const events = budgets.map(({ grant: { grantId }, sessionKey, account }): ChargeEvent => {
    const requestId = generatePrivateKey()
    const { signature } = signVoucher(hash, sessionKey, { grantId, payee, cumulativeAmount })
    return {
      eventId: `p0-${requestId}`,
      occurredAtMs: Date.now(),
      account,
      grantId,
      payee,
      merchantId,
      serviceId,
      requestId,
      fingerprint: requestId,
      amount: debtAtomic,
      cumulativeAmount,
      signature,
    }
  })
  for (let start = 0; start < events.length; start += 100) await appendCharges(db, events.slice(start, start + 100))
}
