import { type ContractAddresses, deployContracts, deployTestUsdc } from '@protocolbanks/stream-contracts'
import { sponsorPaymasterAbi } from '@protocolbanks/stream-protocol/abi/sponsorPaymasterAbi'
import { testUsdcAbi } from '@protocolbanks/stream-protocol/abi/testUsdcAbi'
import { type Address, type Hash, parseEther } from 'viem'
import type { ChainClients } from './chainClients.ts'
import { devAccounts } from './devAccounts.ts'

export type DevContracts = ContractAddresses & { testUsdc: Address }

const paymasterDepositWei = parseEther('100')
const paymasterStakeWei = parseEther('1')
const unstakeDelaySeconds = 86_400
const receiptTimeoutMs = 60_000

/**
 * Deploys our contracts and the test token, and gives the paymaster a deposit (100 ETH) and a stake. `clients` pay with
 * the operator of devAccounts.ts, who owns the paymaster.
 */
export async function setUpContracts(clients: ChainClients, entryPoint: Address): Promise<DevContracts> {
  const { operator, paymasterSigner } = devAccounts
  const contracts = await deployContracts(clients, {
    owner: operator.address,
    signer: paymasterSigner.address,
    entryPoint,
  })
  const testUsdc = await deployTestUsdc(clients)
  await fundPaymaster(clients, contracts.sponsorPaymaster)
  return { ...contracts, testUsdc }
}

/** A second paymaster, for the accounts of EntryPoint v0.7, with the same deposit and stake there. */
export async function setUpPaymaster07(clients: ChainClients, entryPoint07: Address): Promise<Address> {
  const { operator, paymasterSigner } = devAccounts
  const params = { owner: operator.address, signer: paymasterSigner.address, entryPoint07 }
  const { sponsorPaymaster07 } = await deployContracts(clients, params)
  if (!sponsorPaymaster07) throw new Error(`No paymaster was planned for EntryPoint v0.7 at ${entryPoint07}.`)
  await fundPaymaster(clients, sponsorPaymaster07)
  return sponsorPaymaster07
}

async function fundPaymaster(clients: ChainClients, address: Address): Promise<void> {
  const paymaster = { address, abi: sponsorPaymasterAbi } as const
  const { walletClient } = clients
  await waitFor(
    clients,
    await walletClient.writeContract({ ...paymaster, functionName: 'deposit', value: paymasterDepositWei }),
  )
  await waitFor(
    clients,
    await walletClient.writeContract({
      ...paymaster,
      functionName: 'addStake',
      args: [unstakeDelaySeconds],
      value: paymasterStakeWei,
    }),
  )
}

/** Gives `to` test USDC out of nothing. `amountAtomic` in millionths of a USDC. */
export async function mintTestUsdc(
  clients: ChainClients,
  p: { token: Address; to: Address; amountAtomic: bigint },
): Promise<void> {
  const { token: address, to, amountAtomic } = p
  const args = [to, amountAtomic] as const
  await waitFor(
    clients,
    await clients.walletClient.writeContract({ address, abi: testUsdcAbi, functionName: 'mint', args }),
  )
}

async function waitFor({ publicClient }: ChainClients, hash: Hash): Promise<void> {
  const receipt = await publicClient.waitForTransactionReceipt({ hash, timeout: receiptTimeoutMs })
  if (receipt.status !== 'success') throw new Error(`The transaction ${hash} to ${receipt.to} reverted.`)
}
