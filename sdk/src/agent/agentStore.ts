import { type Address, addressSchema, BaseError, type Hex } from '@protocolbanks/stream-protocol'
import { type Channel, emptyLedger, type Ledger } from './ledger.ts'

/**
 * Where an agent remembers what it signed, across restarts. With one, a payee that claims more than was ever signed is
 * found out at the first contact, and hourly limits go on where they were. It is written before each payment leaves, and
 * begins with the grant: what was signed without it counts as never signed.
 *
 * One agent at a time: two that share a store overwrite each other. Give each process a grant and a store of its own.
 */
export type AgentStore = {
  /** What was saved last under this grant; undefined when nothing was. */
  load(grantId: Hex): Promise<string | undefined>
  /** Resolves when it would survive the end of the process. Never called twice at once. */
  save(grantId: Hex, state: string): Promise<void>
}

/** For tests, and for agents that make several paying fetches one after another. */
export function createMemoryStore(): AgentStore {
  const states = new Map<Hex, string>()
  return {
    load: async (grantId) => states.get(grantId),
    async save(grantId, state) {
      states.set(grantId, state)
    },
  }
}

/** Of the grant, and of each host that has limits of its own. */
export type AgentState = { ledger: Ledger; hosts: ReadonlyMap<string, Ledger> }

/** As JSON, amounts as decimal strings. */
export function writeState({ ledger, hosts }: AgentState): string {
  const plain = ({ channels, hour }: Ledger) => ({
    channels: [...channels].map(([payee, { charged, inFlight, authorized, disputed }]) => ({
      payee,
      // A call that is under way when the process ends is one whose outcome nobody told.
      charged: `${charged + inFlight}`,
      authorized: `${authorized}`,
      disputed,
    })),
    hour: hour.map(({ startMs, amount }) => [startMs, `${amount}`]),
  })
  return JSON.stringify({
    version: 1,
    ledger: plain(ledger),
    hosts: [...hosts].map(([host, spent]) => [host, plain(spent)]),
  })
}

/** @throws StoredStateError */
export function readState(text: string | undefined): AgentState {
  if (text === undefined) return { ledger: { ...emptyLedger, isComplete: true }, hosts: new Map() }
  try {
    const { version, ledger, hosts } = JSON.parse(text)
    if (version !== 1) throw new Error(`version ${version}`)
    return {
      ledger: { ...toLedger(ledger), isComplete: true },
      hosts: new Map((hosts as [string, unknown][]).map(([host, spent]) => [String(host), toLedger(spent)])),
    }
  } catch (cause) {
    throw new StoredStateError(cause)
  }
}

function toLedger(value: unknown): Ledger {
  const { channels, hour } = value as { channels: StoredChannel[]; hour: [number, string][] }
  return {
    channels: new Map(
      channels.map((stored): [Address, Channel] => [addressSchema.parse(stored.payee), toChannel(stored)]),
    ),
    hour: hour.map(([startMs, amount]) => ({ startMs: Number(startMs), amount: BigInt(amount) })),
  }
}

type StoredChannel = { payee: string; charged: string; authorized: string; disputed: boolean }

function toChannel({ charged, authorized, disputed }: StoredChannel): Channel {
  return {
    charged: BigInt(charged),
    inFlight: 0n,
    authorized: BigInt(authorized),
    contacted: true,
    disputed: disputed === true,
    turn: 0,
  }
}

/** What the store holds cannot be read. Nothing is signed on a guess. */
export class StoredStateError extends BaseError {
  override readonly code = 'agent.state_malformed'
  constructor(cause: unknown) {
    super('What the store remembers of this grant cannot be read.', {
      cause,
      metaMessages: [
        `Reason: ${cause instanceof Error ? cause.message : String(cause)}`,
        'Restore it from a copy. Without it the agent takes the word of services for what it has signed.',
      ],
      docsPath: '/errors#agent-state-malformed',
    })
  }
}
