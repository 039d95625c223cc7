import {
  type Address,
  BaseError,
  type Claim,
  type GrantTerms,
  type Hex,
  packClaims,
  packTerms,
} from '@protocolbanks/stream-protocol'
import { sessionKeyValidatorAbi } from '@protocolbanks/stream-protocol/abi/sessionKeyValidatorAbi'
import { encodeFunctionData } from 'viem'

/** What is settled of one account. */
export type AccountSettlement = {
  account: Address
  terms: GrantTerms
  claims: readonly Claim[]
}

/** Accounts of one transaction: 50 of them take about two million gas. */
export const maxSettlements = 100

/**
 * Call data for the module itself that settles for many accounts: `settleMany((account, terms, claims)[])`, an ordinary
 * transaction by anybody. Each account once, because a settlement that is skipped is told by its account alone.
 *
 * @throws InvalidSettlementsError, InvalidTermsError, InvalidClaimError, InvalidSignatureError
 */
export function encodeSettleMany(settlements: readonly AccountSettlement[]): Hex {
  if (settlements.length === 0 || settlements.length > maxSettlements) {
    throw new InvalidSettlementsError(`One transaction settles for 1 to ${maxSettlements}, not ${settlements.length}.`)
  }
  const accounts = settlements.map(({ account }) => account.toLowerCase())
  const twice = accounts.find((account, index) => accounts.indexOf(account) !== index)
  if (twice !== undefined) throw new InvalidSettlementsError(`The account ${twice} is there twice.`)
  return encodeFunctionData({
    abi: sessionKeyValidatorAbi,
    functionName: 'settleMany',
    args: [
      settlements.map(({ account, terms, claims }) => ({
        account,
        terms: packTerms(terms),
        claims: packClaims(claims),
      })),
    ],
  })
}

export class InvalidSettlementsError extends BaseError {
  override readonly code = 'settlements.invalid'
  constructor(reason: string) {
    super('These settlements cannot be one transaction.', {
      metaMessages: [reason, 'Put each account in once, and what is too much into another transaction.'],
      docsPath: '/errors#settlements-invalid',
    })
  }
}
