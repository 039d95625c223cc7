import { type Address, BaseError } from '@protocolbanks/stream-protocol'
import type { AccountAdapter, EntryPointVersion } from './accountAdapter.ts'
import { accountAdapters } from './accountAdapters.ts'

export type FindAdapterOptions = {
  /** Those to choose from, all by default. */
  adapters?: readonly AccountAdapter[] | undefined
  /** Who said it, for the error. */
  account?: Address | undefined
}

/**
 * The adapter of accounts that say `accountId` of themselves: ERC-7579's `vendor.name.semver`, of which the major version
 * counts. Undefined: the account did not say.
 *
 * @throws UnknownAccountError
 * @example findAdapter('rhinestone.safe7579.v1.0.0').entryPoint.version // '0.7'
 */
export function findAdapter(
  accountId: string | undefined,
  { adapters = accountAdapters, account }: FindAdapterOptions = {},
): AccountAdapter {
  const family = accountId === undefined ? undefined : familyOf(accountId)
  const isIt = ({ accountIds }: AccountAdapter) => family !== undefined && accountIds.includes(family)
  const found = adapters.find(isIt)
  if (found) return found
  const notServed = accountAdapters.find(isIt)?.entryPoint.version
  throw new UnknownAccountError({ account, accountId, adapters, notServed })
}

/** `vendor.name.1` of `vendor.name.1.0.2` or `vendor.name.v1.0.2`; a suffix of the version does not count. */
function familyOf(accountId: string): string | undefined {
  const [, name, major] = /^(.{1,100})\.v?(\d{1,9})\.\d{1,9}\.\d{1,9}(?:[-+].{0,50})?$/.exec(accountId) ?? []
  return name === undefined ? undefined : `${name}.${major}`
}

/** No adapter is for this account, or it is no ERC-7579 account at all. */
export class UnknownAccountError extends BaseError {
  override readonly code = 'account.unknown'
  constructor({
    account,
    accountId,
    adapters,
    notServed,
  }: {
    account: Address | undefined
    /** Undefined: it did not answer `accountId()`. */
    accountId: string | undefined
    adapters: readonly AccountAdapter[]
    /** The EntryPoint of an adapter that there is, but not among these. */
    notServed: EntryPointVersion | undefined
  }) {
    const known = adapters.flatMap(({ accountIds }) => accountIds.map((family) => `${family}.x.y`))
    super('UserOperations for this kind of account cannot be built.', {
      metaMessages: [
        ...(account === undefined ? [] : [`Account: ${account}`]),
        accountId === undefined
          ? 'It does not answer accountId(): it has no code, or is no ERC-7579 account.'
          : `It says it is: ${JSON.stringify(accountId.slice(0, 100))}`,
        `Known here: ${known.join(', ')}`,
        notServed === undefined
          ? 'docs/accounts.md says how to add one.'
          : `It needs EntryPoint v${notServed}, which is not configured here: see docs/accounts.md.`,
        'Its vouchers can be settled by an ordinary call of settle meanwhile.',
      ],
      docsPath: '/accounts#adding-an-account',
    })
  }
}
