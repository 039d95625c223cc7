import { type Address, BaseError, type Hex } from '@protocolbanks/stream-protocol'
import type { UnpaidReason } from '../payable/explainUnpaid.ts'
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

/** The chain would pay none of the claims now. `code`: why not the first of them. */
export class UnpayableError extends BaseError {
  override readonly code: UnpaidReason
  override readonly retryable = true
  /** Payees whom the token refuses to pay. */
  readonly blockedPayees: readonly Address[]
  /** Of the grant's current period, unix seconds. */
  readonly periodEndsAt: number | undefined
  constructor({
    grantId,
    leftOut,
    periodEndsAt,
  }: { grantId: Hex; leftOut: readonly LeftOut[]; periodEndsAt: number | undefined }) {
    super('None of the claims can be paid now.', {
      metaMessages: [
        `Grant: ${grantId}`,
        ...leftOut.map(({ payee, reason }) => `Payee ${payee}: ${reason}`),
        'It is settled once they can be.',
      ],
      docsPath: '/errors#claim',
    })
    const reasons = leftOut.map(({ reason }) => reason).filter(isUnpaidReason)
    // Funds and limits stop all payees, a block only one.
    this.code = reasons.find((reason) => reason !== 'claim.payee_blocked') ?? reasons[0] ?? 'claim.token_refuses'
    this.blockedPayees = blockedPayeesOf(leftOut)
    this.periodEndsAt = periodEndsAt
  }
}

export function blockedPayeesOf(leftOut: readonly LeftOut[]): Address[] {
  return leftOut.flatMap(({ payee, reason }) => (reason === 'claim.payee_blocked' ? [payee] : []))
}

function isUnpaidReason(reason: LeftOut['reason']): reason is UnpaidReason {
  return reason.startsWith('claim.')
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

/** Its nonce is used, and none of its versions is on the chain. */
export class NonceUsedError extends BaseError {
  override readonly code = 'operation.nonce_used'
  override readonly retryable = true
  constructor({ userOpHash, nonce }: { userOpHash: Hex; nonce: bigint }) {
    super("Another operation of the account took the UserOperation's nonce.", {
      metaMessages: [`UserOperation: ${userOpHash}`, `Nonce: ${nonce}`, 'Another one is built with the next nonce.'],
      docsPath: '/errors#operation-nonce-used',
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
