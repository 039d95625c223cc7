import {
  approveReserveCall,
  type Call,
  cancelWithdrawalCall,
  decodeExecute,
  depositCall,
  encodeExecute,
  encodeGrantSetup,
  encodeSettle,
  freezeCall,
  grantSetupCalls,
  installModuleCall,
  type PartialUserOperation,
  requestWithdrawalCall,
  revokeAllCall,
  safe7579FactoryData,
  setGuardianCall,
  unfreezeCall,
  uninstallModuleCall,
  withdrawCall,
} from '@protocolbanks/stream-bundler-client'
import { reserveOf } from '@protocolbanks/stream-protocol'
import { prepaidReserveAbi } from '@protocolbanks/stream-protocol/abi/prepaidReserveAbi'
import { sessionKeyValidatorAbi } from '@protocolbanks/stream-protocol/abi/sessionKeyValidatorAbi'
import { concatHex, encodeFunctionData, erc20Abi, zeroAddress } from 'viem'
import { expect, test } from 'vitest'
import { examples } from '../testing/examples.ts'
import { classifyOperation } from './classifyOperation.ts'

const { contracts, account, terms, claims, payees, settlement, setup, delegation, grantId, grant, addressOf } = examples
const { module, token } = contracts

const classify = (op: PartialUserOperation) => classifyOperation(contracts, op)
const byOwner = (...calls: Call[]): PartialUserOperation => ({
  ...setup,
  factory: undefined,
  factoryData: undefined,
  callData: encodeExecute(calls),
})
const codeOf = (op: PartialUserOperation) => {
  const result = classify(op)
  return 'refusal' in result ? result.refusal.code : result.operation.kind
}
const setupCalls = grantSetupCalls({ account, module, guardian: zeroAddress, token, allowance: 1n, terms })
const [install, approve, grantCall] = setupCalls as [Call, Call, Call]
const reserve = reserveOf(module)
const fund = approveReserveCall({ reserve, token, amount: 5n })
const deposit = depositCall({ reserve, token, account, amount: 5n })

test('a settlement of our module by its own validator is one, with its terms and payees', () => {
  expect(classify(settlement)).toEqual({
    operation: { kind: 'settlement', packedTerms: grant.packedTerms, terms, payees: [...payees] },
  })
})

test('a deployment with install, approval and grant is a grant; so is each later subset with a grant', () => {
  expect(classify(setup)).toEqual({ operation: { kind: 'grant', deploys: true, calls: 3 } })
  const again = {
    ...byOwner(),
    callData: encodeGrantSetup({ account, module, guardian: undefined, token, allowance: 1n, terms }),
  }
  expect(classify(again)).toEqual({ operation: { kind: 'grant', deploys: false, calls: 2 } })
  expect(codeOf(byOwner(grantCall))).toBe('grant')
  expect(codeOf(byOwner(approve, grantCall, grantCall))).toBe('grant')
})

test("a Safe's deployment from its factory is sponsored with a grant, where that factory is configured", () => {
  const factoryData = safe7579FactoryData(
    { proxyFactory: contracts.safeProxyFactory, singleton: module, safe7579: module, launchpad: module },
    { owners: [account], threshold: 1, saltNonce: 1n },
  )
  const op = { ...setup, factory: contracts.safeProxyFactory, factoryData }
  expect(classify(op)).toEqual({ operation: { kind: 'grant', deploys: true, calls: 3 } })
  expect(codeOf({ ...op, factoryData: `${factoryData}00` })).toBe('sponsor.factory')
  expect(codeOf({ ...op, callData: encodeExecute([revokeAllCall({ module, account })]) })).toBe('sponsor.factory')
  expect(classifyOperation({ ...contracts, safeProxyFactory: undefined }, op)).toMatchObject({
    refusal: { code: 'sponsor.factory' },
  })
})

test('a grant paid from the reserve is a grant, with its deposit or when enough is in it', () => {
  const prepaid = { ...terms, source: 'reserve' } as const
  const setupOf = (deposit: bigint, guardian?: typeof account) =>
    grantSetupCalls({ account, module, guardian, token, terms: prepaid, reserve, deposit })
  expect(classify(byOwner(...setupOf(5n, zeroAddress)))).toEqual({
    operation: { kind: 'grant', deploys: false, calls: 4 },
  })
  expect(codeOf(byOwner(...setupOf(5n)))).toBe('grant')
  expect(codeOf(byOwner(...setupOf(0n)))).toBe('grant')
  expect(codeOf(byOwner(approve, ...setupOf(5n), grantCall))).toBe('grant')
})

test("the account's own money in the reserve, in and out, is control", () => {
  expect(codeOf(byOwner(fund, deposit))).toBe('control')
  expect(codeOf(byOwner(requestWithdrawalCall({ reserve, token, amount: 5n })))).toBe('control')
  expect(codeOf(byOwner(withdrawCall({ reserve, token, to: addressOf('somebody') })))).toBe('control')
  expect(
    codeOf(byOwner(cancelWithdrawalCall({ reserve, token }), setGuardianCall({ module, guardian: payees[0] }))),
  ).toBe('control')
})

test("an EOA's delegation to our code with install, approval and grant is a grant that deploys nothing", () => {
  expect(classify(delegation)).toEqual({ operation: { kind: 'grant', deploys: false, calls: 3 } })
  expect(codeOf({ ...delegation, factoryData: '0x' })).toBe('grant')
})

test('an EOA that delegates again to freeze or revoke is helped to it', () => {
  const { callData } = byOwner(freezeCall({ module, account, grantId }), revokeAllCall({ module, account }))
  expect(classify({ ...delegation, callData })).toEqual({ operation: { kind: 'control', calls: 2 } })
})

test('control calls of the account are control, alone or together', () => {
  expect(codeOf(byOwner(freezeCall({ module, account, grantId })))).toBe('control')
  expect(codeOf(byOwner(unfreezeCall({ module, grantId }), setGuardianCall({ module, guardian: payees[0] })))).toBe(
    'control',
  )
  expect(codeOf(byOwner(revokeAllCall({ module, account })))).toBe('control')
})

const other = addressOf('somebody')
const settleOf = (change: Partial<Parameters<typeof encodeSettle>[0]>) =>
  encodeSettle({ module, account, terms, claims, ...change })
const approveCall = (spender: `0x${string}`): Call => ({
  to: token,
  value: 0n,
  data: encodeFunctionData({ abi: erc20Abi, functionName: 'approve', args: [spender, 1n] }),
})

test.each<[string, PartialUserOperation, string]>([
  ['no call data', { ...setup, callData: '0x' }, 'sponsor.call_not_sponsored'],
  [
    'bytes after the call data',
    { ...setup, callData: concatHex([setup.callData, '0x00']) },
    'sponsor.call_not_sponsored',
  ],
  ['a payment', byOwner({ to: other, value: 1n, data: '0x' }), 'sponsor.call_not_sponsored'],
  [
    'a token transfer',
    byOwner({ ...approve, data: encodeFunctionData({ abi: erc20Abi, functionName: 'transfer', args: [other, 1n] }) }),
    'sponsor.call_not_sponsored',
  ],
  [
    'value beside a sponsored call',
    byOwner({ ...freezeCall({ module, account, grantId }), value: 1n }),
    'sponsor.call_not_sponsored',
  ],
  ['an approval of somebody else', byOwner(approveCall(other), grantCall), 'sponsor.call_not_sponsored'],
  ['an approval of the reserve without a deposit', byOwner(fund, grantCall), 'sponsor.call_not_sponsored'],
  ['a deposit without its approval', byOwner(deposit, grantCall), 'sponsor.call_not_sponsored'],
  ['a deposit after the grant', byOwner(grantCall, fund, deposit), 'sponsor.call_not_sponsored'],
  [
    'a deposit for another account',
    byOwner(fund, depositCall({ reserve, token, account: other, amount: 5n }), grantCall),
    'sponsor.other_account',
  ],
  [
    'a deposit of another token',
    byOwner(fund, depositCall({ reserve, token: other, account, amount: 5n }), grantCall),
    'sponsor.token',
  ],
  ['a withdrawal of another token', byOwner(withdrawCall({ reserve, token: other, to: account })), 'sponsor.token'],
  [
    'a draw',
    byOwner({
      ...deposit,
      data: encodeFunctionData({ abi: prepaidReserveAbi, functionName: 'draw', args: [account, token, other, 1n] }),
    }),
    'sponsor.call_not_sponsored',
  ],
  [
    'a deployment to fund the reserve',
    { ...setup, callData: encodeExecute([fund, deposit]) },
    'sponsor.call_not_sponsored',
  ],
  ['an approval alone', byOwner(approve), 'sponsor.call_not_sponsored'],
  ['a grant before its approval', byOwner(grantCall, approve), 'sponsor.call_not_sponsored'],
  [
    'a grant with a control call',
    byOwner(grantCall, freezeCall({ module, account, grantId })),
    'sponsor.call_not_sponsored',
  ],
  [
    'the module of somebody else',
    byOwner(installModuleCall({ account, module: other, initData: '0x' }), grantCall),
    'sponsor.call_not_sponsored',
  ],
  [
    'install data of another shape',
    byOwner(installModuleCall({ account, module, initData: '0x1234' }), grantCall),
    'sponsor.call_not_sponsored',
  ],
  [
    'an uninstallation',
    byOwner(uninstallModuleCall({ account, module, deInitData: '0x' })),
    'sponsor.call_not_sponsored',
  ],
  [
    'more than 8 calls',
    byOwner(install, approve, ...Array.from({ length: 7 }, () => grantCall)),
    'sponsor.call_not_sponsored',
  ],
  ['a grant in another token', byOwner(grantOf({ token: other })), 'sponsor.token'],
  ['freezing for another account', byOwner(freezeCall({ module, account: other, grantId })), 'sponsor.other_account'],
  ['the owner in a lane of the module', { ...byOwner(grantCall), nonce: settlement.nonce }, 'sponsor.nonce_key'],
  ['another factory', { ...setup, factory: other }, 'sponsor.factory'],
  ['other factory data', { ...setup, factoryData: '0x1234' }, 'sponsor.factory'],
  [
    'a deployment to freeze',
    {
      ...byOwner(freezeCall({ module, account, grantId })),
      factory: contracts.factory,
      factoryData: setup.factoryData,
    },
    'sponsor.factory',
  ],
  [
    'a delegation to other code',
    { ...delegation, eip7702Auth: delegation.eip7702Auth && { ...delegation.eip7702Auth, address: other } },
    'sponsor.delegation',
  ],
  ['the marker without an authorisation', { ...delegation, eip7702Auth: undefined }, 'sponsor.delegation'],
  ['an authorisation without the marker', { ...delegation, factory: undefined }, 'sponsor.delegation'],
  ['an authorisation with a factory', { ...setup, eip7702Auth: delegation.eip7702Auth }, 'sponsor.delegation'],
  ['a call that initialises the EOA', { ...delegation, factoryData: '0x1234' }, 'sponsor.delegation'],
  [
    'a settlement that delegates',
    { ...settlement, factory: delegation.factory, eip7702Auth: delegation.eip7702Auth },
    'sponsor.delegation',
  ],
  ['a settlement elsewhere', { ...settlement, callData: settleOf({ module: other }) }, 'sponsor.call_not_sponsored'],
  [
    'a settlement for another account',
    { ...settlement, callData: settleOf({ account: other }) },
    'sponsor.other_account',
  ],
  ["a settlement in the owner's lane", { ...settlement, nonce: 0n }, 'sponsor.nonce_key'],
  ['a settlement that deploys', { ...settlement, factory: contracts.factory, factoryData: '0x' }, 'sponsor.factory'],
  [
    'a settlement in a batch',
    byOwner(...(decodeExecute(settlement.callData)?.calls ?? []), grantCall),
    'sponsor.call_not_sponsored',
  ],
])('%s is refused', (_, op, code) => {
  expect(codeOf(op)).toBe(code)
})

function grantOf(change: Partial<typeof terms>): Call {
  const [, call] = grantSetupCalls({
    account,
    module,
    guardian: undefined,
    token,
    allowance: 1n,
    terms: { ...terms, ...change },
  }) as [Call, Call]
  return call
}

test('no delegation is sponsored where no code for it is configured', () => {
  expect(classifyOperation({ ...contracts, delegate: undefined }, delegation)).toMatchObject({
    refusal: { code: 'sponsor.delegation' },
  })
})

test('a refusal names the values that it is about', () => {
  const result = classify(byOwner({ to: other, value: 0n, data: '0x' }))
  expect('refusal' in result && result.refusal.reason).toContain(other)
})

test('giving up and settling are not for the owner’s operation', () => {
  const giveUp = encodeFunctionData({
    abi: sessionKeyValidatorAbi,
    functionName: 'giveUp',
    args: [account, grant.packedTerms],
  })
  expect(codeOf(byOwner({ to: module, value: 0n, data: giveUp }))).toBe('sponsor.call_not_sponsored')
})
