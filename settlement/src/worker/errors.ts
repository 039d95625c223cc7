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
  constructor({ transactionHash, reason }: { transactionHash: Hex; reason: string }) {
    super('The settlement was included, and its call reverted.', {
      metaMessages: [`Transaction: ${transactionHash}`, `Reason: ${reason}`],
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

/** The chain does not know (any more) that it paid this payee before. The claim is made again with its proof. */
export class PayeeNotKnownError extends BaseError {
  override readonly code = 'claim.payee_not_known'
  override readonly retryable = true
  constructor({ grantId, payees }: { grantId: Hex; payees: readonly Address[] }) {
    super('The chain has not paid these payees before under the grant.', {
      metaMessages: [`Grant: ${grantId}`, `Payees: ${payees.join(', ')}`, 'They are claimed again with their proofs.'],
      docsPath: '/errors#settlement',
    })
  }
}

/** Somebody else's token could use up the gas of the whole transaction. */
export class OtherTokenError extends BaseError {
  override readonly code = 'settlement.other_token'
  constructor({ grantId, token, ours }: { grantId: Hex; token: Address; ours: Address }) {
    super('The grant is in another token.', {
      metaMessages: [
        `Grant: ${grantId}`,
        `Token: ${token}`,
        `Ours: ${ours}`,
        'Its merchants can call settle themselves.',
      ],
      docsPath: '/errors#settlement',
    })
  }
}

/** Waits until the chain is cheaper, or the limit higher. */
export class FeeAboveLimitError extends BaseError {
  override readonly code = 'transaction.fee_above_limit'
  override readonly retryable = true
  constructor({ maxFeePerGas, limit }: { maxFeePerGas: bigint; limit: bigint }) {
    super('The chain asks for higher fees than a transaction may have.', {
      metaMessages: [`Fee per gas: ${maxFeePerGas} wei`, `Allowed: ${limit} wei`, 'Wait, or raise the limit.'],
      docsPath: '/errors#settlement',
    })
  }
}

export class TransactionLostError extends BaseError {
  override readonly code = 'transaction.lost'
  override readonly retryable = true
  constructor({ sender, nonce }: { sender: Address; nonce: number }) {
    super("Another transaction of the sender's took the nonce.", {
      metaMessages: [
        `Sender: ${sender}`,
        `Nonce: ${nonce}`,
        'The settlements go into another one. Nobody else may use the key of the sender.',
      ],
      docsPath: '/errors#settlement',
    })
  }
}
