import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { deterministicDeployer, entryPoint08 } from '@protocolbanks/stream-contracts'
import { type Address, concatHex, type Hex, isHex } from 'viem'
import type { ChainClients } from './chainClients.ts'

/** With it the deterministic deployer puts EntryPoint v0.8 at its address of every other chain. */
const salt: Hex = '0x0a59dbff790c23c976a548690c27297883cc66b4c67024f9117b0238995e35e9'

/** Deploys EntryPoint v0.8 where it is everywhere. Does nothing when it is there. @throws when it lands elsewhere */
export async function deployEntryPoint({ publicClient, walletClient }: ChainClients): Promise<Address> {
  if (await publicClient.getCode({ address: entryPoint08 })) return entryPoint08

  const path = createRequire(import.meta.url).resolve('@account-abstraction/contracts/artifacts/EntryPoint.json')
  const { bytecode } = JSON.parse(await readFile(path, 'utf8')) as { bytecode?: unknown }
  if (!isHex(bytecode)) throw new Error(`${path} carries no creation code. Is it version 0.8.0?`)
  const hash = await walletClient.sendTransaction({ to: deterministicDeployer, data: concatHex([salt, bytecode]) })
  await publicClient.waitForTransactionReceipt({ hash, timeout: 60_000 })
  if (!(await publicClient.getCode({ address: entryPoint08 }))) {
    throw new Error(`EntryPoint v0.8 is not at ${entryPoint08} after ${hash}. Is ${path} version 0.8.0?`)
  }
  return entryPoint08
}
