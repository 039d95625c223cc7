import { entryPoint07, type Safe7579Contracts } from '@protocolbanks/stream-bundler-client'
import { deterministicDeployer } from '@protocolbanks/stream-contracts'
import {
  type Address,
  concatHex,
  encodeAbiParameters,
  getCreate2Address,
  type Hex,
  isHex,
  zeroAddress,
  zeroHash,
} from 'viem'
import type { ChainClients } from './chainClients.ts'
import { type NpmArchive, readNpmArchive } from './npmArchive.ts'

// GPL-3, with dependencies in git repositories: read at run time, never a dependency, never copied into this repository.
const modulekit: NpmArchive = {
  name: '@rhinestone/modulekit',
  version: '0.5.9',
  integrity: 'sha512-Zc5Qo3dkyVhBo7OQRKOltYd+jlGCtV18TWSmpSvIdXKwUgo5xj8zL73wAwFKTww00zt/wXMbW6Z6ysIQWH3Ezw==',
}
const precompiles = 'src/deployment/precompiles/Safe7579Precompiles.sol'

/**
 * Deploys Safe 1.4.1 and Rhinestone's Safe7579 with its launchpad, out of the code that Rhinestone published for tests.
 * EntryPoint v0.7 has to be there. Modules need no attestation: the launchpad gets no registry.
 */
export async function deploySafe7579(clients: ChainClients): Promise<Safe7579Contracts> {
  const source = await readNpmArchive(modulekit, precompiles)
  const launchpadArguments = encodeAbiParameters(
    [{ type: 'address' }, { type: 'address' }],
    [entryPoint07.address, zeroAddress],
  )
  // One after the other: the operator's transactions have consecutive nonces.
  const proxyFactory = await deploy(clients, codeOf(source, 'SAFE_PROXY_FACTORY_BYTECODE'))
  const singleton = await deploy(clients, codeOf(source, 'SAFE_SINGLETON_BYTECODE'))
  const safe7579 = await deploy(clients, codeOf(source, 'SAFE7579_BYTECODE'))
  const launchpad = await deploy(
    clients,
    concatHex([codeOf(source, 'SAFE7579_LAUNCHPAD_BYTECODE'), launchpadArguments]),
  )
  return { proxyFactory, singleton, safe7579, launchpad }
}

/** Creation code in a Solidity constant: `bytes public constant NAME = hex"..."`. */
function codeOf(source: string, name: string): Hex {
  const [, digits] = new RegExp(`constant ${name} =\\s*hex"([0-9a-f]+)"`).exec(source) ?? []
  const code = `0x${digits ?? ''}`
  if (!digits || !isHex(code)) throw new Error(`${modulekit.name}@${modulekit.version}: ${precompiles} has no ${name}.`)
  return code
}

async function deploy({ publicClient, walletClient }: ChainClients, initCode: Hex): Promise<Address> {
  const address = getCreate2Address({ from: deterministicDeployer, salt: zeroHash, bytecode: initCode })
  if (await publicClient.getCode({ address })) return address
  const hash = await walletClient.sendTransaction({
    to: deterministicDeployer,
    data: concatHex([zeroHash, initCode]),
  })
  const { status } = await publicClient.waitForTransactionReceipt({ hash, timeout: 60_000 })
  if (status !== 'success') throw new Error(`The deployment ${hash} to ${address} reverted.`)
  return address
}
