/** EntryPoint v0.8, with its events and errors. */
export { entryPoint08Abi as entryPointAbi } from 'viem/account-abstraction'
