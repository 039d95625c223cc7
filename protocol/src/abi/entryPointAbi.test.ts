import { toEventSelector, toEventSignature, toFunctionSelector, toFunctionSignature } from 'viem'
import { entryPoint08Abi } from 'viem/account-abstraction'
import { expect, test } from 'vitest'
import { entryPointAbi } from './entryPointAbi.ts'

/** An item as the chain sees it: selector, which event arguments are indexed, whether it takes ether. */
function onChain(item: (typeof entryPointAbi)[number] | (typeof entryPoint08Abi)[number]): string | undefined {
  if (item.type === 'function') return `${toFunctionSelector(item)} ${toFunctionSignature(item)} ${item.stateMutability}`
  if (item.type === 'error') return `error ${item.name}(${JSON.stringify(item.inputs.map(({ type }) => type))})`
  if (item.type === 'event') {
    return `${toEventSelector(item)} ${toEventSignature(item)} ${item.inputs.map((input) => 'indexed' in input && Boolean(input.indexed))}`
  }
  return undefined
}

test('every item is one of EntryPoint v0.8', () => {
  const real = new Set(entryPoint08Abi.map(onChain))
  expect(entryPointAbi.map(onChain).filter((item) => !real.has(item))).toEqual([])
})
