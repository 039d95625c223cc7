import {
  type Address,
  concatHex,
  domainSeparator,
  type Hex,
  keccak256,
  numberToHex,
  pad,
  size,
  slice,
  stringToHex,
} from 'viem'
import { artifacts } from '../generated/artifacts.ts'
import type { ArtifactName } from './planDeployment.ts'

/** What a constructor took from the outside and keeps in code, of all contracts. */
export type CodeParams = {
  chainId: number
  /** Of the contract itself. */
  address: Address
  entryPoint: Address
  /** Of the module. */
  reserve: Address
  /** Of the reserve. */
  module: Address
  /** Of the factory. */
  implementation: Address
}

/**
 * The runtime code that a contract of ours has at an address, to the last byte: the compiler's output with what the
 * constructor filled in.
 *
 * @throws when the artifact has an immutable whose value is not known here
 */
export function expectedCode(artifact: ArtifactName, params: CodeParams): Hex {
  const { runtimeCode, immutables } = artifacts[artifact]
  const values = immutablesOf(artifact, params)
  const bytes = Object.entries(immutables as Record<string, readonly number[]>).flatMap(([name, offsets]) => {
    const value = values[name]
    if (value === undefined) throw new Error(`The value of the immutable ${name} of ${artifact} is not known.`)
    return offsets.map((offset): [number, Hex] => [offset, value])
  })
  bytes.sort(([one], [other]) => one - other)
  const parts: Hex[] = []
  let end = 0
  for (const [offset, value] of bytes) {
    if (offset > end) parts.push(slice(runtimeCode, end, offset))
    parts.push(value)
    end = offset + 32
  }
  if (end < size(runtimeCode)) parts.push(slice(runtimeCode, end))
  // Addresses are written in both cases, code is in one.
  return concatHex(parts).toLowerCase() as Hex
}

/** Name and version of each contract's EIP-712 domain. */
const domains: Partial<Record<ArtifactName, { name: string; version: string }>> = {
  sessionKeyValidator: { name: 'Protocol Banks Session', version: '1' },
  sponsorPaymaster: { name: 'Protocol Banks Sponsor', version: '1' },
  streamAccount: { name: 'Protocol Banks Stream Account', version: '1' },
  streamAccount7702: { name: 'Protocol Banks Stream Account', version: '1' },
}

function immutablesOf(artifact: ArtifactName, params: CodeParams): Record<string, Hex> {
  const domain = domains[artifact]
  return {
    _entryPoint: pad(params.entryPoint),
    reserve: pad(params.reserve),
    module: pad(params.module),
    implementation: pad(params.implementation),
    ...(domain && domainImmutables(domain, params)),
  }
}

/** What OpenZeppelin's EIP712 keeps. */
function domainImmutables(
  { name, version }: { name: string; version: string },
  { chainId, address }: CodeParams,
): Record<string, Hex> {
  return {
    _cachedChainId: numberToHex(chainId, { size: 32 }),
    _cachedDomainSeparator: domainSeparator({ domain: { name, version, chainId, verifyingContract: address } }),
    _cachedThis: pad(address),
    _hashedName: keccak256(stringToHex(name)),
    _hashedVersion: keccak256(stringToHex(version)),
    _name: shortString(name),
    _version: shortString(version),
  }
}

/** OpenZeppelin's ShortString: at most 31 bytes, from the left, and the length in the last byte. */
function shortString(text: string): Hex {
  const bytes = stringToHex(text)
  return concatHex([pad(bytes, { dir: 'right', size: 31 }), numberToHex(size(bytes), { size: 1 })])
}
