import { type Address, BaseError, type Hex } from '@protocolbanks/stream-protocol'
import type { LeftOut } from './buildClaims.ts'

export class NoClaimError extends BaseError {
  override readonly code: string
  constructor({ grantId, leftOut }: { grantId: Hex; leftOut: readonly LeftOut[] }) {
    super('No voucher of the settlement can go on-chain.', {
      metaMessages: [
        `Grant: ${grantId}`,
        ...leftOut.map(({ payee, reason }) => `Payee ${payee}: ${reason}`),
        'Compare the stored vouchers with the session key and the payees of the grant.',
      ],
      docsPath: '/errors#settlement',
    })
    this.code = leftOut[0]?.reason ?? 'settlement.empty'
  }
}

export class OtherSettlerError extends BaseError {
  override readonly code = 'settlement.other_settler'
  constructor({ grantId, settler, ours }: { grantId: Hex; settler: Address; ours: Address }) {
    super('The grant names another settler.', {
      metaMessages: [
        `Grant: ${grantId}`,
        `Settler: ${settler}`,
        `Ours: ${ours}`,
        'Its merchants can call settle themselves.',
      ],
      docsPath: '/errors#settlement',
    })
  }
}

/** The account or its guardian may unfreeze it any time: the settlement waits. */
export class GrantFrozenError extends BaseError {
  override readonly code = 'grant.frozen'
  override readonly retryable = true
  constructor({ grantId, what }: { grantId: Hex; what: 'grant' | 'account' }) {
    super(`The ${what} is frozen on-chain.`, {
      metaMessages: [`Grant: ${grantId}`, 'It is settled once it is unfrozen.'],
      docsPath: '/errors#grant-frozen',
    })
  }
}

export class GrantEndedError extends BaseError {
  override readonly code: 'grant.revoked' | 'grant.expired' | 'grant.unknown'
  constructor({ grantId, code }: { grantId: Hex; code: 'grant.revoked' | 'grant.expired' | 'grant.unknown' }) {
    super('The grant can no longer be settled.', {
      metaMessages: [`Grant: ${grantId}`, 'What it owes was not collected in time: write it off.'],
      docsPath: '/errors#grant-ended',
    })
    this.code = code
  }
}

export class SettlementRevertedError extends BaseError {
  override readonly code = 'settlement.reverted'
  override readonly retryable = true
  constructor({ userOpHash, reason }: { userOpHash: Hex; reason: string }) {
    super('The settlement was included, and its call reverted.', {
      metaMessages: [`UserOperation: ${userOpHash}`, `Reason: ${reason}`],
      docsPath: '/errors#settlement',
    })
  }
}

export class ChainUnavailableError extends BaseError {
  override readonly code = 'chain.unavailable'
  override readonly retryable = true
  constructor(cause: object) {
    const { shortMessage, details } = cause as { shortMessage?: unknown; details?: unknown }
    const words = [shortMessage, details].filter((one) => typeof one === 'string').join(' ')
    super("The chain's RPC did not answer, or not as it should.", {
      cause,
      // Not the whole message: it names the address, which carries a key.
      metaMessages: [`RPC: ${words.slice(0, 300) || 'no answer'}`],
      docsPath: '/errors#chain-unavailable',
    })
  }
}

/** The lease of the settlement went to another worker: this one stops without a word to the database. */
export class LeaseLostError extends BaseError {
  override readonly code = 'settlement.lease_lost'
  constructor(id: string) {
    super('Another worker has taken over the settlement.', { metaMessages: [`Settlement: ${id}`] })
  }
}

export class OperationDroppedError extends BaseError {
  override readonly code = 'bundler.dropped'
  override readonly retryable = true
  constructor({ userOpHash }: { userOpHash: Hex }) {
    super('The UserOperation was sent, but is neither on the chain nor with the bundler.', {
      metaMessages: [`UserOperation: ${userOpHash}`, 'Another one is built.'],
      docsPath: '/errors#settlement',
    })
  }
}
