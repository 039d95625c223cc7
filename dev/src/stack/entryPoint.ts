import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { type EntryPoint, entryPoint07, entryPoint08 } from '@protocolbanks/stream-bundler-client'
import { deterministicDeployer } from '@protocolbanks/stream-contracts'
import { type Address, concatHex, type Hex, isHex } from 'viem'
import type { ChainClients } from './chainClients.ts'

/** With its salt the deterministic deployer puts an EntryPoint at its address of every other chain. */
type Release = EntryPoint & { salt: Hex; artifact: string }

const releases: Record<EntryPoint['version'], Release> = {
  '0.7': {
    ...entryPoint07,
    salt: '0x90d8084deab30c2a37c45e8d47f49f2f7965183cb6990a98943ef94940681de3',
    artifact: '@account-abstraction/contracts-v0.7/artifacts/EntryPoint.json',
  },
  '0.8': {
    ...entryPoint08,
    salt: '0x0a59dbff790c23c976a548690c27297883cc66b4c67024f9117b0238995e35e9',
    artifact: '@account-abstraction/contracts/artifacts/EntryPoint.json',
  },
}

/**
 * Deploys an EntryPoint, v0.8 by default, where it is everywhere. Does nothing when it is there.
 *
 * @throws when it lands elsewhere
 */
export async function deployEntryPoint(
  { publicClient, walletClient }: ChainClients,
  version: EntryPoint['version'] = '0.8',
): Promise<Address> {
  const { address, salt, artifact } = releases[version]
  if (await publicClient.getCode({ address })) return address

  const path = createRequire(import.meta.url).resolve(artifact)
  const { bytecode } = JSON.parse(await readFile(path, 'utf8')) as { bytecode?: unknown }
  if (!isHex(bytecode)) throw new Error(`${path} carries no creation code. Is it version ${version}.0?`)
  const hash = await walletClient.sendTransaction({ to: deterministicDeployer, data: concatHex([salt, bytecode]) })
  await publicClient.waitForTransactionReceipt({ hash, timeout: 60_000 })
  if (!(await publicClient.getCode({ address }))) {
    throw new Error(`EntryPoint v${version} is not at ${address} after ${hash}. Is ${path} version ${version}.0?`)
  }
  return address
}
