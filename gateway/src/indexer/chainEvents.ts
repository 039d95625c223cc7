import type { ChainEvent } from '@protocolbanks/stream-db'
import {
  type Address,
  BaseError,
  type GrantContext,
  type GrantTerms,
  grantIdOfPacked,
  type Hex,
  packTerms,
  unpackTerms,
} from '@protocolbanks/stream-protocol'
import { sessionKeyValidatorAbi } from '@protocolbanks/stream-protocol/abi/sessionKeyValidatorAbi'
import { type Log, parseEventLogs } from 'viem'

/** A grant as its `GrantCreated` event brings it. */
export type CreatedGrant = { grantId: Hex; account: Address; epoch: bigint; terms: GrantTerms }

/** What the module's logs of some blocks say. They say what changed; how it is now is read from the chain. */
export type ModuleEvents = {
  events: ChainEvent[]
  created: CreatedGrant[]
  /** Grants whose id does not follow from their terms, or whose terms make no sense: left out. */
  rejected: Hex[]
}

type ModuleContext = Pick<GrantContext, 'chainId' | 'module'>

/** Decodes mined logs of the module. Events that the ABI does not know are left out. */
export function decodeModuleEvents(logs: readonly Log<bigint, number, false>[], context: ModuleContext): ModuleEvents {
  const events: ChainEvent[] = []
  const created: CreatedGrant[] = []
  const rejected: Hex[] = []
  for (const log of parseEventLogs({ abi: sessionKeyValidatorAbi, logs: [...logs] })) {
    if (log.eventName === 'EIP712DomainChanged') continue
    const { args } = log
    events.push({
      blockNumber: log.blockNumber,
      blockHash: log.blockHash,
      logIndex: log.logIndex,
      txHash: log.transactionHash,
      name: log.eventName,
      account: args.account,
      grantId: 'grantId' in args ? args.grantId : null,
      payee: 'payee' in args ? args.payee : null,
      data: toJson(args),
    })
    if (log.eventName === 'GrantCreated') {
      const { account, grantId, epoch, terms } = log.args
      const unpacked = unpackChecked(terms)
      if (unpacked && grantIdOfPacked({ ...context, account, epoch }, terms) === grantId) {
        created.push({ grantId, account, epoch, terms: unpacked })
      } else {
        rejected.push(grantId)
      }
    }
  }
  return { events, created, rejected }
}

/** Undefined for terms that are not well formed: one such event must not stop the indexer. */
function unpackChecked(packed: Hex): GrantTerms | undefined {
  try {
    const terms = unpackTerms(packed)
    return packTerms(terms) === packed ? terms : undefined
  } catch (error) {
    if (error instanceof BaseError) return undefined
    throw error
  }
}

function toJson(args: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(args).map(([name, value]) => [name, typeof value === 'bigint' ? value.toString() : value]),
  )
}
