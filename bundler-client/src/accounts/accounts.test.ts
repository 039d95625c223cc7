import { decodeAbiParameters, decodeFunctionData, getAddress, parseAbi, zeroAddress } from 'viem'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { expect, test } from 'vitest'
import { decodeExecute } from '../calls/decodeExecute.ts'
import { examples } from '../testing/examples.ts'
import { accountAdapters, adaptersOf } from './accountAdapters.ts'
import { createAdapterResolver } from './adapterResolver.ts'
import { entryPoint07, entryPoint08 } from './entryPoint.ts'
import { findAdapter, UnknownAccountError } from './findAdapter.ts'
import { ModuleNotInstalledError, safe7579 } from './safe7579.ts'

// What all adapters have in common, and how one is found. test/src/accounts.test.ts runs each on its account.

const { module, account, addressOf } = examples

test.each([
  ['protocolbanks.stream.1.0.0', 'stream-account'],
  ['protocolbanks.stream7702.1.2.3', 'stream-account'],
  ['rhinestone.safe7579.v1.0.0', 'safe7579'],
  ['rhinestone.safe7579.1.4.0-beta.1', 'safe7579'],
])('the account %s is served by %s', (accountId, name) => {
  expect(findAdapter(accountId).name).toBe(name)
})

test.each([
  'rhinestone.safe7579.v2.0.0',
  'rhinestone.safe7579',
  'rhinestone.safe7579.v1',
  'safe-1.4.1.erc7579.v0.0.1',
  'kernel.advanced.v0.3.1',
  'stream.1.0.0',
  '',
  '.'.repeat(10_000),
])('the account %j is refused with its words and what to do', (accountId) => {
  const find = () => findAdapter(accountId, { account })
  expect(find).toThrow(UnknownAccountError)
  expect(find).toThrow(JSON.stringify(accountId.slice(0, 100)))
  expect(find).toThrow(account)
  expect(find).toThrow('docs/accounts.md')
})

test('an account whose EntryPoint is not served is refused with the EntryPoint it needs', () => {
  const find = () => findAdapter('rhinestone.safe7579.v1.0.0', { adapters: adaptersOf([entryPoint08]) })
  expect(find).toThrow(UnknownAccountError)
  expect(find).toThrow('EntryPoint v0.7')
})

test('no two adapters claim the same account, nor the same name', () => {
  const ids = accountAdapters.flatMap(({ accountIds }) => accountIds)
  expect(new Set(ids).size).toBe(ids.length)
  expect(new Set(accountAdapters.map(({ name }) => name)).size).toBe(accountAdapters.length)
})

test.each(accountAdapters)(
  '$name: a nonce key survives the way into a nonce and back, and execute can be decoded',
  (adapter) => {
    for (const validator of [zeroAddress, module]) {
      for (const lane of [0, 7, 0xffffffff]) {
        const nonce = (adapter.nonceKey(validator, lane) << 64n) + 5n
        expect(adapter.fromNonce(nonce)).toEqual({ validator, lane, sequence: 5n })
      }
    }
    const calls = [{ to: module, value: 1n, data: '0x1234' } as const]
    expect(decodeExecute(adapter.encodeExecute(calls))?.calls).toEqual(calls)
  },
)

test('only adapters whose EntryPoint is served are left, with the address it has here', () => {
  const address = addressOf('another EntryPoint')
  expect(adaptersOf([{ version: '0.8', address }]).map(({ name, entryPoint }) => [name, entryPoint])).toEqual([
    ['stream-account', { version: '0.8', address }],
  ])
  expect(adaptersOf([entryPoint08, entryPoint07])).toHaveLength(accountAdapters.length)
})

test('an account is asked what it is once in a while, and asked again when what it said is old', async () => {
  const said = ['rhinestone.safe7579.v1.0.0', 'protocolbanks.stream.1.0.0']
  let now = 0
  let asked = 0
  const readContract = async () => said[asked++]
  const resolve = createAdapterResolver({
    chain: { readContract } as never,
    ttlMs: 1_000,
    clock: () => now,
  })
  expect((await resolve(account)).name).toBe('safe7579')
  now = 999
  expect((await resolve(account)).name).toBe('safe7579')
  expect(asked).toBe(1)
  now = 1_000
  expect((await resolve(account)).name).toBe('stream-account')
})

test('what an account is, is remembered of a bounded number of accounts', async () => {
  let asked = 0
  const readContract = async () => {
    asked++
    return 'protocolbanks.stream.1.0.0'
  }
  const resolve = createAdapterResolver({ chain: { readContract } as never, maxAccounts: 2 })
  for (const name of ['a', 'b', 'c', 'c', 'b']) await resolve(addressOf(name))
  expect(asked).toBe(3)
  await resolve(addressOf('a'))
  expect(asked).toBe(4)
})

test.each([1, 50, 51, 120])(
  'a Safe names the entry before in its list of %d validators when one is taken off',
  async (count) => {
    const validators = Array.from({ length: count }, () => privateKeyToAccount(generatePrivateKey()).address)
    const abi = parseAbi(['function uninstallModule(uint256 moduleTypeId, address module, bytes deInitData)'])
    const chain = { readContract: async ({ args }: { args: [string, bigint] }) => pageOf(validators, ...args) } as never
    for (const index of [0, count - 1]) {
      const call = await safe7579().encodeUninstall(chain, {
        account,
        module: validators[index] ?? zeroAddress,
        deInitData: '0xab',
      })
      expect(call.to).toBe(account)
      const { args } = decodeFunctionData({ abi, data: call.data })
      expect(args.slice(0, 2)).toEqual([1n, validators[index]])
      expect(decodeAbiParameters([{ type: 'address' }, { type: 'bytes' }], args[2])).toEqual([
        validators[index - 1] ?? getAddress('0x0000000000000000000000000000000000000001'),
        '0xab',
      ])
    }
    const stranger = safe7579().encodeUninstall(chain, { account, module, deInitData: '0x' })
    await expect(stranger).rejects.toThrow(ModuleNotInstalledError)
  },
)

/** SentinelList's getEntriesPaginated: entries after the cursor. */
function pageOf(entries: readonly string[], cursor: string, size: bigint): [readonly string[], string] {
  const from = entries.indexOf(cursor) + 1
  return [entries.slice(from, from + Number(size)), zeroAddress]
}
