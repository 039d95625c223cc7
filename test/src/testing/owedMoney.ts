import {
  appendCharges,
  createMerchant,
  createService,
  ensureChannel,
  listSettlements,
  type Merchant,
  type Service as PricedService,
  type Settlement,
  upsertAccountsFromChain,
  upsertGrantsFromChain,
} from '@protocolbanks/stream-db'
import { devAccounts } from '@protocolbanks/stream-dev'
import { type Address, createVoucherHasher, type Hex, payeeProofOf, signVoucher } from '@protocolbanks/stream-protocol'
import { sessionKeyValidatorAbi } from '@protocolbanks/stream-protocol/abi/sessionKeyValidatorAbi'
import { testUsdcAbi } from '@protocolbanks/stream-protocol/abi/testUsdcAbi'
import { createWalletClient, http } from 'viem'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { createOwner, grantBudget, type SponsoredChain, type TestGrant, type TestOwner } from './sponsoredChain.ts'

// What settlement finds: merchants, grants on the chain and in the mirror, and a journal of what was charged.

export type Seller = { merchant: Merchant; service: PricedService }

export async function createSeller({ database: { db }, contracts }: SponsoredChain): Promise<Seller> {
  const payee = privateKeyToAccount(generatePrivateKey()).address
  const merchant = await createMerchant(db, { name: 'Weather Inc', payee })
  const name = `weather-${payee}`
  const service = await createService(db, {
    merchantId: merchant.id,
    name,
    pathPrefix: `/${name}`,
    price: 10_000n,
    token: contracts.testUsdc,
  })
  return { merchant, service }
}

/** A new person's grant to these merchants, mirrored. */
export async function arrangeGrant(
  sponsored: SponsoredChain,
  sellers: readonly Seller[],
): Promise<{ grant: TestGrant; account: Address; person: TestOwner }> {
  const person = await createOwner(sponsored)
  const account = person.account.address
  const grant = await grantBudget(sponsored, person, { payees: sellers.map(({ merchant }) => merchant.payee) })
  await mirrorGrant(sponsored, grant, account, sellers)
  return { grant, account, person }
}

/** What the gateway's indexer and registration write. */
export async function mirrorGrant(
  { database: { db } }: SponsoredChain,
  grant: TestGrant,
  account: Address,
  sellers: readonly Seller[],
): Promise<void> {
  const { grantId, terms, blockNumber, payees } = grant
  const state = { status: 'active', settled: 0n, periodIndex: 0, periodSettled: 0n, blockNumber } as const
  await upsertGrantsFromChain(db, [{ grantId, account, epoch: 0n, terms, ...state }])
  await upsertAccountsFromChain(db, [
    {
      account,
      token: terms.token,
      balance: 100_000_000n,
      allowance: 100_000_000n,
      accountFrozen: false,
      guardian: devAccounts.guardian.address,
      epoch: 0n,
      blockNumber,
    },
  ])
  for (const { merchant } of sellers) {
    const payeeProof = payeeProofOf(payees, merchant.payee)
    await ensureChannel(db, { grantId, payee: merchant.payee, merchantId: merchant.id, payeeProof })
  }
}

/** What the indexer writes after a settlement. */
export async function mirrorSettled(
  { database: { query }, clients }: SponsoredChain,
  grant: TestGrant,
  { merchant }: Seller,
): Promise<void> {
  const block = await clients.publicClient.getBlock()
  const values = [block.number.toString(), block.hash]
  await query(
    `insert into indexer_cursor (name, block_number, block_hash, checked_at) values ('module', $1, $2, now())
     on conflict (name) do update set block_number = excluded.block_number`,
    values,
  )
  await query('update channel set settled = charged, settled_block = $1 where grant_id = $2 and payee = $3', [
    block.number.toString(),
    grant.grantId,
    merchant.payee.toLowerCase(),
  ])
}

/** Journals one charge for each payee, with a voucher for it; `before`: what was charged earlier. */
export async function charge(
  { anvil, contracts, database }: SponsoredChain,
  { grant, account }: { grant: TestGrant; account: Address },
  amounts: readonly (readonly [Seller, bigint])[],
  options: { change?: (signature: Hex) => Hex; before?: bigint } = {},
): Promise<void> {
  const { change = (signature) => signature, before = 0n } = options
  const hash = createVoucherHasher({ chainId: anvil.chainId, module: contracts.sessionKeyValidator })
  const events = amounts.map(([{ merchant, service }, amount]) => {
    const voucher = { grantId: grant.grantId, payee: merchant.payee, cumulativeAmount: before + amount }
    const { signature } = signVoucher(hash, grant.sessionPrivateKey, voucher)
    const requestId = generatePrivateKey()
    return {
      eventId: `p0-${requestId}`,
      occurredAtMs: Date.now(),
      account,
      grantId: grant.grantId,
      payee: merchant.payee,
      merchantId: merchant.id,
      serviceId: service.id,
      requestId,
      fingerprint: requestId,
      amount,
      cumulativeAmount: before + amount,
      signature: change(signature),
    }
  })
  await appendCharges(database.db, events)
}

/** Newest first. */
export async function settlementsOf({ database }: SponsoredChain, { grantId }: TestGrant): Promise<Settlement[]> {
  return (await listSettlements(database.db, { grantId })).items
}

export function balanceOf({ clients, contracts }: SponsoredChain, payee: Address): Promise<bigint> {
  return clients.publicClient.readContract({
    abi: testUsdcAbi,
    address: contracts.testUsdc,
    functionName: 'balanceOf',
    args: [payee],
  })
}

export async function asGuardian(
  { clients, anvil, contracts, chain }: SponsoredChain,
  functionName: 'freeze' | 'revoke',
  account: Address,
  grantId: Hex,
): Promise<void> {
  const wallet = createWalletClient({ account: devAccounts.guardian.account, chain, transport: http(anvil.url) })
  const hash = await wallet.writeContract({
    abi: sessionKeyValidatorAbi,
    address: contracts.sessionKeyValidator,
    functionName,
    args: [account, grantId],
  })
  await clients.publicClient.waitForTransactionReceipt({ hash })
}
