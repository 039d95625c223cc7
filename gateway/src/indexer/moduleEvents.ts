import { type Address, type GrantTerms, grantIdOfPacked, type Hex, unpackTerms } from '@protocolbanks/stream-protocol'
import { sessionKeyValidatorAbi } from '@protocolbanks/stream-protocol/abi/sessionKeyValidatorAbi'
import { type Log, parseEventLogs } from 'viem'

/** One event of the module: what of whom changed. The state itself is read from the chain. */
export type ModuleEvent = {
  blockNumber: bigint
  blockHash: Hex
  logIndex: number
  txHash: Hex
  name: string
  account: Address
  grantId: Hex | undefined
  payee: Address | undefined
  /** The arguments; amounts as decimal strings. */
  data: Record<string, unknown>
}

/** A grant as its GrantCreated event brings it. */
export type CreatedGrant = { grantId: Hex; account: Address; epoch: bigint; terms: GrantTerms }

/** Logs of the module that are known to its ABI and included in a block. */
export function toModuleEvents(logs: Log[]): ModuleEvent[] {
  return parseEventLogs({ abi: sessionKeyValidatorAbi, logs }).flatMap((log) => {
    const { args, blockNumber, blockHash, transactionHash: txHash, logIndex, eventName: name } = log
    if (blockNumber === null || blockHash === null || txHash === null || logIndex === null) return []
    if (!('account' in args)) return []
    return {
      blockNumber,
      blockHash,
      logIndex,
      txHash,
      name,
      account: args.account,
      grantId: 'grantId' in args ? args.grantId : undefined,
      payee: 'payee' in args ? args.payee : undefined,
      data: Object.fromEntries(
        Object.entries(args).map(([key, value]) => [key, typeof value === 'bigint' ? value.toString() : value]),
      ),
    }
  })
}

/**
 * The grants that these events created.
 *
 * @throws when an event's id is not the hash of its terms: then this is not the module it is taken for
 */
export function createdGrants(events: ModuleEvent[], module: Address, chainId: number): CreatedGrant[] {
  return events.flatMap(({ name, account, grantId, data }) => {
    if (name !== 'GrantCreated' || grantId === undefined) return []
    const packed = data.terms as Hex
    const epoch = BigInt(data.epoch as string)
    const expected = grantIdOfPacked({ chainId, module, account, epoch }, packed)
    if (expected !== grantId)
      throw new Error(`GrantCreated says ${grantId}, its terms hash to ${expected}: is ${module} our module?`)
    return { grantId, account, epoch, terms: unpackTerms(packed) }
  })
}
