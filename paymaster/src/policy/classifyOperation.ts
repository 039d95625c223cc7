import {
  accountAdapters,
  type Call,
  controlFunctions,
  decodeExecute,
  decodeSettle,
  delegationMarker,
  installModuleCall,
  type PartialUserOperation,
  reserveFunctions,
  safeProxyFactoryAbi,
} from '@protocolbanks/stream-bundler-client'
import { type Address, type GrantTerms, type Hex, reserveOf } from '@protocolbanks/stream-protocol'
import { prepaidReserveAbi } from '@protocolbanks/stream-protocol/abi/prepaidReserveAbi'
import { sessionKeyValidatorAbi } from '@protocolbanks/stream-protocol/abi/sessionKeyValidatorAbi'
import { streamAccountAbi } from '@protocolbanks/stream-protocol/abi/streamAccountAbi'
import { streamAccountFactoryAbi } from '@protocolbanks/stream-protocol/abi/streamAccountFactoryAbi'
import { decodeFunctionData, encodeFunctionData, erc20Abi, isAddressEqual } from 'viem'
import { type Refusal, refuse } from './refusal.ts'

/** What an operation is, as far as its own bytes tell. */
export type Operation =
  | { kind: 'settlement'; packedTerms: Hex; terms: GrantTerms; payees: Address[] }
  /** The owner's setup; `deploys` with the account's deployment. */
  | { kind: 'grant'; deploys: boolean; calls: number }
  /** Freeze, unfreeze, revoke, the guardian, or the account's own money in the reserve; through the account. */
  | { kind: 'control'; calls: number }

/** The contracts that operations are sponsored for, and the module's reserve. */
export type SponsoredContracts = {
  module: Address
  token: Address
  factory: Address
  /** StreamAccount7702, what EOAs may delegate to; undefined: no delegation is sponsored. */
  delegate: Address | undefined
  /** SafeProxyFactory; undefined: no Safe's deployment is sponsored. */
  safeProxyFactory: Address | undefined
}

/** More calls of the owner in one operation are not sponsored: an install, an approval and some grants. */
export const maxOwnerCalls = 8

/**
 * Reads what the operation does, and refuses what is none of the three kinds. Pure: whether a known and live grant is
 * meant, and who pays, is decided in decideSponsorship.ts.
 */
export function classifyOperation(
  contracts: SponsoredContracts,
  op: PartialUserOperation,
): { operation: Operation } | { refusal: Refusal } {
  const settle = decodeSettle(op.callData)
  if (settle) return classifySettlement(contracts, op, settle)
  const calls = decodeExecute(op.callData)?.calls
  if (!calls) {
    return refused(
      'sponsor.call_not_sponsored',
      'The call data is not a canonical ERC-7579 execute of one or several calls.',
    )
  }
  if (namesValidator(op.nonce, contracts.module)) {
    return refused('sponsor.nonce_key', "The owner's operations need a nonce key without our module.", {
      nonce: op.nonce,
    })
  }
  if (calls.length > maxOwnerCalls) {
    return refused('sponsor.call_not_sponsored', `The operation has ${calls.length} calls, above ${maxOwnerCalls}.`)
  }
  const factoryRefusal = isDelegating(op) ? checkDelegation(contracts, op) : checkFactory(contracts, op)
  if (factoryRefusal) return { refusal: factoryRefusal }
  return classifyOwnerCalls(contracts, op, calls)
}

function classifySettlement(
  { module }: SponsoredContracts,
  op: PartialUserOperation,
  settle: NonNullable<ReturnType<typeof decodeSettle>>,
): { operation: Operation } | { refusal: Refusal } {
  if (!isAddressEqual(settle.module, module)) {
    return refused('sponsor.call_not_sponsored', `It settles at the module ${settle.module}, not at ${module}.`)
  }
  if (!isAddressEqual(settle.account, op.sender)) {
    return refused('sponsor.other_account', `It settles for ${settle.account}, but its sender is ${op.sender}.`)
  }
  if (isDelegating(op)) return refused('sponsor.delegation', 'A settlement makes no delegation.')
  if (op.factory) return refused('sponsor.factory', 'A settlement deploys no account.', { factory: op.factory })
  if (!namesValidator(op.nonce, module)) {
    return refused('sponsor.nonce_key', `A settlement's nonce key names the module ${module}; this one does not.`, {
      nonce: op.nonce,
    })
  }
  const { packedTerms, terms, claims } = settle
  return { operation: { kind: 'settlement', packedTerms, terms, payees: claims.map(({ payee }) => payee) } }
}

/** Whether any of the accounts there are would let this validator check the nonce. The account itself has the last word. */
function namesValidator(nonce: bigint, validator: Address): boolean {
  return accountAdapters.some((adapter) => isAddressEqual(adapter.fromNonce(nonce).validator, validator))
}

function checkFactory(
  { factory, safeProxyFactory }: SponsoredContracts,
  op: PartialUserOperation,
): Refusal | undefined {
  if (!op.factory) return undefined
  if (safeProxyFactory && isAddressEqual(op.factory, safeProxyFactory)) {
    // What the Safe is set up with is its owners' affair; the gas limits bound what it may cost.
    if (decodeExactly(safeProxyFactoryAbi, op.factoryData ?? '0x')) return undefined
    return refuse(
      'sponsor.factory',
      'The factory data is not exactly createProxyWithNonce(singleton, initializer, salt).',
    )
  }
  if (!isAddressEqual(op.factory, factory)) {
    return refuse('sponsor.factory', `The factory is ${op.factory}; accounts are sponsored from ${factory}.`)
  }
  const call = decodeExactly(streamAccountFactoryAbi, op.factoryData ?? '0x')
  if (call?.functionName === 'createAccount') return undefined
  return refuse('sponsor.factory', 'The factory data is not exactly createAccount(owner, salt).')
}

function isDelegating(op: PartialUserOperation): boolean {
  return op.factory === delegationMarker || op.eip7702Auth !== undefined
}

/**
 * An EOA's delegation to our code (EIP-7702). With the marker the owner signs which code it is; our own signature covers
 * the marker only, so what somebody makes of it with other code is bounded by the gas limits, as for any account.
 */
function checkDelegation({ delegate }: SponsoredContracts, op: PartialUserOperation): Refusal | undefined {
  const { factory, factoryData = '0x', eip7702Auth } = op
  if (!delegate) return refuse('sponsor.delegation', 'No EIP-7702 delegation is sponsored here.')
  if (factory !== delegationMarker || !eip7702Auth) {
    const missing = eip7702Auth ? `the factory ${delegationMarker}` : 'eip7702Auth'
    return refuse(
      'sponsor.delegation',
      `A delegation has both the factory ${delegationMarker} and eip7702Auth; ${missing} is missing. An EOA that delegates already needs neither.`,
    )
  }
  if (factoryData !== '0x') {
    return refuse('sponsor.delegation', 'A delegation has no factory data: the account has nothing to initialise.')
  }
  if (isAddressEqual(eip7702Auth.address, delegate)) return undefined
  return refuse('sponsor.delegation', `It delegates to ${eip7702Auth.address}; sponsored is ${delegate}.`, {
    delegate: eip7702Auth.address,
  })
}

/** `fund` lets the reserve take what `deposit` puts into it. */
type OwnerCall = 'install' | 'approve' | 'fund' | 'deposit' | 'grant' | 'control' | Refusal

function classifyOwnerCalls(
  contracts: SponsoredContracts,
  op: PartialUserOperation,
  calls: readonly Call[],
): { operation: Operation } | { refusal: Refusal } {
  const kinds = calls.map((call) => classifyOwnerCall(contracts, op.sender, call))
  for (const kind of kinds) if (typeof kind !== 'string') return { refusal: kind }
  // An EOA may have granted before, ended its delegation, and delegate again to stop what it granted.
  const deploys = op.factory !== undefined && op.factory !== delegationMarker
  if (kinds.every((kind) => kind === 'control')) {
    if (!deploys) return { operation: { kind: 'control', calls: calls.length } }
    return refused('sponsor.factory', 'An account is deployed only together with a grant.')
  }
  const setup = kinds.join(' ')
  // Each at most once and in this order, then one grant or more.
  if (/^(install )?(approve )?(fund deposit )?grant( grant)*$/.test(setup)) {
    return { operation: { kind: 'grant', deploys, calls: calls.length } }
  }
  if (setup === 'fund deposit' && !deploys) return { operation: { kind: 'control', calls: calls.length } }
  return refused(
    'sponsor.call_not_sponsored',
    `The calls are: ${setup}. Sponsored are install, approve, fund with deposit, and grant in this order (all but the grant may be left out), fund with deposit alone, or control calls alone.`,
  )
}

function classifyOwnerCall({ module, token }: SponsoredContracts, sender: Address, call: Call): OwnerCall {
  if (call.value !== 0n) return refuse('sponsor.call_not_sponsored', `A call to ${call.to} sends ${call.value} wei.`)
  if (isAddressEqual(call.to, module)) return classifyModuleCall(token, sender, call)
  if (isAddressEqual(call.to, sender)) return classifyInstall(module, sender, call)
  if (isAddressEqual(call.to, token)) return classifyApproval(module, call)
  if (isAddressEqual(call.to, reserveOf(module))) return classifyReserveCall(token, sender, call)
  return refuse(
    'sponsor.call_not_sponsored',
    `A call goes to ${call.to}, which is neither the module, its reserve, the token nor the account.`,
  )
}

/** The sender's own money in our token, into its own pool or out of it. */
function classifyReserveCall(token: Address, sender: Address, call: Call): OwnerCall {
  const decoded = decodeExactly(prepaidReserveAbi, call.data)
  const { functionName, args = [] } = decoded ?? {}
  if (!functionName || !(reserveFunctions as readonly string[]).includes(functionName)) {
    return refuse(
      'sponsor.call_not_sponsored',
      `The reserve's ${functionName ?? 'unknown function'} is not sponsored; ${reserveFunctions.join(', ')} are.`,
    )
  }
  const isDeposit = functionName === 'deposit'
  const [pooled] = (isDeposit ? args.slice(1) : args) as [Address]
  if (!isAddressEqual(pooled, token)) {
    return refuse('sponsor.token', `${functionName} is in the token ${pooled}; sponsored is ${token}.`)
  }
  if (!isDeposit) return 'control'
  const [account] = args as [Address]
  if (isAddressEqual(account, sender)) return 'deposit'
  return refuse('sponsor.other_account', `deposit is for ${account}, but the sender is ${sender}.`)
}

function classifyModuleCall(token: Address, sender: Address, call: Call): OwnerCall {
  const decoded = decodeExactly(sessionKeyValidatorAbi, call.data)
  if (!decoded) return refuse('sponsor.call_not_sponsored', 'A call to the module has call data that is not canonical.')
  const { functionName, args = [] } = decoded
  if (functionName === 'grant') {
    const [terms] = args as [{ token: Address; source: number }]
    if (!isAddressEqual(terms.token, token)) {
      return refuse('sponsor.token', `The grant is in the token ${terms.token}; sponsored is ${token}.`)
    }
    return 'grant'
  }
  if (!(controlFunctions as readonly string[]).includes(functionName)) {
    return refuse(
      'sponsor.call_not_sponsored',
      `The module's ${functionName} is not sponsored in the owner's operation.`,
    )
  }
  // freeze, revoke and their variants for all name the account first; the others are about the caller.
  const namesAccount = ['freeze', 'freezeAll', 'revoke', 'revokeAll'].includes(functionName)
  const [account] = args as [Address]
  if (namesAccount && !isAddressEqual(account, sender)) {
    return refuse('sponsor.other_account', `${functionName} is about ${account}, but the sender is ${sender}.`)
  }
  return 'control'
}

function classifyInstall(module: Address, sender: Address, call: Call): OwnerCall {
  const decoded = decodeExactly(streamAccountAbi, call.data)
  if (decoded?.functionName === 'installModule') {
    const [type, installed, initData] = decoded.args as [bigint, Address, Hex]
    const ours = installModuleCall({ account: sender, module, initData })
    // Validators only, of our module, with its guardian or nothing.
    if (ours.data === call.data.toLowerCase() && (initData === '0x' || initData.length === 66)) return 'install'
    return refuse(
      'sponsor.call_not_sponsored',
      `It installs ${installed} as module type ${type}; sponsored is ${module} as 1.`,
    )
  }
  return refuse(
    'sponsor.call_not_sponsored',
    `The account calls ${decoded?.functionName ?? 'something unknown'} on itself; sponsored is installModule.`,
  )
}

function classifyApproval(module: Address, call: Call): OwnerCall {
  const decoded = decodeExactly(erc20Abi, call.data)
  if (decoded?.functionName !== 'approve') {
    return refuse(
      'sponsor.call_not_sponsored',
      `The account calls ${decoded?.functionName ?? 'something unknown'} of the token; sponsored is approve.`,
    )
  }
  const [spender] = decoded.args as [Address]
  if (isAddressEqual(spender, module)) return 'approve'
  if (isAddressEqual(spender, reserveOf(module))) return 'fund'
  return refuse(
    'sponsor.call_not_sponsored',
    `It approves the spender ${spender}; sponsored are the module ${module} and its reserve.`,
  )
}

type AnyAbi = Parameters<typeof decodeFunctionData>[0]['abi']

/** The call, if its data is the one canonical encoding of it. */
function decodeExactly(
  abi: AnyAbi,
  data: Hex,
): { functionName: string; args: readonly unknown[] | undefined } | undefined {
  try {
    const decoded = decodeFunctionData({ abi, data })
    return encodeFunctionData({ abi, ...decoded }) === data.toLowerCase() ? decoded : undefined
  } catch {
    return undefined
  }
}

function refused(...parameters: Parameters<typeof refuse>): { refusal: Refusal } {
  return { refusal: refuse(...parameters) }
}
