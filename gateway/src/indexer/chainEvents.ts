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
import { prepaidReserveAbi } from '@protocolbanks/stream-protocol/abi/prepaidReserveAbi'
import { sessionKeyValidatorAbi } from '@protocolbanks/stream-protocol/abi/sessionKeyValidatorAbi'
import { isAddressEqual, type Log, parseEventLogs } from 'viem'

/** A grant as its `GrantCreated` event brings it. */
export type CreatedGrant = { grantId: Hex; account: Address; epoch: bigint; terms: GrantTerms }

/** What the logs of some blocks say. They say what changed; how it is now is read from the chain. */
export type DecodedEvents = {
  events: ChainEvent[]
  created: CreatedGrant[]
  /** Grants whose id does not follow from their terms, or whose terms make no sense: left out. */
  rejected: Hex[]
}

type EventContext = Pick<GrantContext, 'chainId' | 'module'> & { reserve: Address; token: Address }

/**
 * Decodes mined logs of the module and of its reserve, in their order. Left out: events that the ABIs do not know, and
 * those of other tokens in the reserve, which anybody can make up.
 */
export function decodeEvents(logs: readonly Log<bigint, number, false>[], context: EventContext): DecodedEvents {
  const events: ChainEvent[] = []
  const created: CreatedGrant[] = []
  const rejected: Hex[] = []
  for (const raw of logs) {
    if (isAddressEqual(raw.address, context.reserve)) {
      const [log] = parseEventLogs({ abi: prepaidReserveAbi, logs: [raw] })
      if (log && isAddressEqual(log.args.token, context.token)) events.push(toChainEvent(log))
      continue
    }
    const [log] = parseEventLogs({ abi: sessionKeyValidatorAbi, logs: [raw] })
    if (!log || log.eventName === 'EIP712DomainChanged') continue
    events.push(toChainEvent(log))
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

type DecodedLog = Log<bigint, number, false> & {
  eventName: string
  args: { account: Address; grantId?: Hex; payee?: Address }
}

function toChainEvent(log: DecodedLog): ChainEvent {
  const { args } = log
  return {
    blockNumber: log.blockNumber,
    blockHash: log.blockHash,
    logIndex: log.logIndex,
    txHash: log.transactionHash,
    name: log.eventName,
    account: args.account,
    grantId: args.grantId ?? null,
    payee: args.payee ?? null,
    data: toJson(args),
  }
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
