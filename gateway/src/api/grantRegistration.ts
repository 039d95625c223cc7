import { randomBytes } from 'node:crypto'
import {
  type Db,
  ensureChannel,
  getGrant,
  getMerchant,
  listAccountFunds,
  listControls,
  type Merchant,
  registerPendingGrant,
} from '@protocolbanks/stream-db'
import {
  type Address,
  addressSchema,
  type GrantTerms,
  grantIdOf,
  grantSources,
  type Hex,
  hex32Schema,
  isPayee,
  maxPayees,
  maxUint96,
  packTerms,
  payeeProofOf,
  payeeRootOf,
  reserveOf,
  toContractTerms,
  unpackTerms,
} from '@protocolbanks/stream-protocol'
import { prepaidReserveAbi } from '@protocolbanks/stream-protocol/abi/prepaidReserveAbi'
import { sessionKeyValidatorAbi } from '@protocolbanks/stream-protocol/abi/sessionKeyValidatorAbi'
import { streamAccountAbi } from '@protocolbanks/stream-protocol/abi/streamAccountAbi'
import { bytesToHex, encodeFunctionData, erc20Abi } from 'viem'
import { z } from 'zod'
import type { Chain } from '../payment/chain.ts'
import { ApiRefusal } from './apiProblem.ts'
import type { Caller } from './caller.ts'
import { viewGrant } from './grantView.ts'
import { amountSchema, idOf, nonZeroAddressSchema } from './schemas.ts'

export type GrantRegistrationDeps = {
  db: Db
  chain: Pick<Chain, 'chainId' | 'module' | 'token' | 'settler'>
  tokenDecimals: number
  clock(): number
  /** 24 random bytes. */
  createSalt?: (() => Hex) | undefined
}

/** What POST /api/session-keys takes. */
export function createRegistrationSchema({ tokenDecimals }: Pick<GrantRegistrationDeps, 'tokenDecimals'>) {
  const amount = amountSchema(tokenDecimals, maxUint96)
  const seconds = z.int().min(0)
  return z
    .strictObject({
      account: nonZeroAddressSchema,
      /** The account's in the module; 0 unless it revoked everything or took the module off before. */
      epoch: z.int().min(0).default(0),
      /** Left out: settler and token are the gateway's, the salt is random, payeeRoot is of `payees`. */
      terms: z
        .strictObject({
          sessionKey: nonZeroAddressSchema,
          settler: nonZeroAddressSchema.optional(),
          token: nonZeroAddressSchema.optional(),
          totalLimit: amount,
          periodLimit: amount.optional(),
          period: seconds.max(2 ** 32 - 1).optional(),
          validAfter: seconds.optional(),
          validUntil: seconds,
          payeeRoot: hex32Schema.optional(),
          source: z.enum(grantSources).default('allowance'),
          salt: z
            .string()
            .regex(/^0x[0-9a-fA-F]{48}$/, 'must be 24 bytes of hex')
            .transform((text) => text.toLowerCase() as Hex)
            .optional(),
        })
        .optional(),
      /** Instead of `terms`: the 157 bytes. */
      packedTerms: z
        .string()
        .regex(/^0x[0-9a-fA-F]{314}$/, 'must be 157 bytes of hex')
        .transform((text) => text.toLowerCase() as Hex)
        .optional(),
      /** Everybody the grant may pay: the proof follows from it. */
      payees: z.array(addressSchema).min(1).max(maxPayees).optional(),
      /** Instead of `payees`: the proof that the grant may pay the merchant. */
      payeeProof: z.array(hex32Schema).max(32).optional(),
      /** For the operator: whose channel to open. A merchant opens its own. */
      merchantId: z.string().max(80).optional(),
    })
    .refine(({ terms, packedTerms }) => (terms === undefined) !== (packedTerms === undefined), {
      message: 'give either terms or packedTerms',
    })
}

type Registration = z.output<ReturnType<typeof createRegistrationSchema>>

/**
 * Remembers a grant before the chain shows it, and opens the merchant's channel on it. Nothing can be charged until the
 * indexer sees the grant on-chain: what is written here gives nobody any authority.
 *
 * @throws ApiRefusal, InvalidTermsError, InvalidPayeesError
 */
export async function registerGrant(deps: GrantRegistrationDeps, caller: Caller, registration: Registration) {
  const { db, chain, tokenDecimals } = deps
  const { account, payees, payeeProof } = registration
  const epoch = BigInt(registration.epoch)
  const terms = termsOf(deps, registration)
  assertOurs(chain, terms)
  if (payees && payeeRootOf(payees) !== terms.payeeRoot) {
    throw new ApiRefusal(400, 'payees.invalid', 'The payees are not those of the terms.', {
      detail: `payeeRoot of the terms: ${terms.payeeRoot}`,
      hint: 'Send exactly the payees that the grant was made for, or leave payeeRoot out.',
    })
  }
  const grantId = grantIdOf({ chainId: chain.chainId, module: chain.module, account, epoch }, terms)
  const merchant = await merchantOf(db, caller, registration.merchantId)
  const proof = merchant && proofOf(terms, merchant, payees, payeeProof)

  const isNew = await db.transaction(async (tx) => {
    const registered = await registerPendingGrant(tx, { grantId, account, epoch, terms })
    if (merchant && proof) {
      await ensureChannel(tx, { grantId, payee: merchant.payee, merchantId: merchant.id, payeeProof: proof })
    }
    return registered
  })
  const [grant, controls, [funds]] = await Promise.all([
    getGrant(db, grantId),
    listControls(db, { grantId }),
    listAccountFunds(db, [account], terms.token),
  ])
  if (!grant) throw new Error(`The grant ${grantId} was registered and is not there.`)
  const visible = controls.filter(
    ({ merchantId: by }) => caller.merchantId === null || by === null || by === caller.merchantId,
  )
  return {
    isNew,
    answer: {
      ...viewGrant(grant, { controls: visible, funds }, caller, tokenDecimals),
      calls: ownerCalls(chain, account, terms),
    },
  }
}

/**
 * The owner's one UserOperation, piece by piece: the account executes them as a batch. The first only if it has not
 * installed the module. Of an allowance: `approve` replaces one that other grants may need too. Of the reserve: approval
 * and deposit of the whole limit, less of which may do, as what is in it already counts.
 */
function ownerCalls({ module }: GrantRegistrationDeps['chain'], account: Address, terms: GrantTerms) {
  const { token, totalLimit, source } = terms
  const reserve = reserveOf(module)
  const spender = source === 'reserve' ? reserve : module
  const install = { abi: streamAccountAbi, functionName: 'installModule', args: [1n, module, '0x'] } as const
  const approve = { abi: erc20Abi, functionName: 'approve', args: [spender, totalLimit] } as const
  const deposit = { abi: prepaidReserveAbi, functionName: 'deposit', args: [account, token, totalLimit] } as const
  const grant = { abi: sessionKeyValidatorAbi, functionName: 'grant', args: [toContractTerms(terms)] } as const
  return {
    installModule: { to: account, data: encodeFunctionData(install) },
    approve: { to: token, data: encodeFunctionData(approve) },
    ...(source === 'reserve' && { deposit: { to: reserve, data: encodeFunctionData(deposit) } }),
    grant: { to: module, data: encodeFunctionData(grant) },
  }
}

function termsOf(deps: GrantRegistrationDeps, { terms, packedTerms, payees }: Registration): GrantTerms {
  const { chain, clock, createSalt = () => bytesToHex(randomBytes(24)) } = deps
  if (packedTerms) {
    const unpacked = unpackTerms(packedTerms)
    packTerms(unpacked)
    return unpacked
  }
  // The schema lets one of the two through.
  if (!terms) throw new Error('A registration had neither terms nor packed terms.')
  const payeeRoot = terms.payeeRoot ?? (payees && payeeRootOf(payees))
  if (!payeeRoot) {
    throw new ApiRefusal(400, 'request.invalid', 'The request is not valid.', {
      detail: 'terms.payeeRoot: give it, or `payees` to compute it from',
    })
  }
  const complete: GrantTerms = {
    sessionKey: terms.sessionKey,
    settler: terms.settler ?? chain.settler,
    token: terms.token ?? chain.token,
    totalLimit: terms.totalLimit,
    periodLimit: terms.periodLimit ?? 0n,
    period: terms.period ?? 0,
    validAfter: terms.validAfter ?? Math.floor(clock() / 1000),
    validUntil: terms.validUntil,
    payeeRoot,
    source: terms.source,
    salt: terms.salt ?? createSalt(),
  }
  packTerms(complete)
  return complete
}

function assertOurs(chain: GrantRegistrationDeps['chain'], { token, settler }: GrantTerms): void {
  const refuse = (what: string, found: string, wanted: string): never => {
    throw new ApiRefusal(400, 'terms.unsupported', 'This gateway cannot use a grant with these terms.', {
      detail: `${what}: ${found}; here it is ${wanted}`,
    })
  }
  if (token !== chain.token) refuse('token', token, chain.token)
  if (settler !== chain.settler) refuse('settler', settler, chain.settler)
}

async function merchantOf(db: Db, caller: Caller, wanted: string | undefined): Promise<Merchant | undefined> {
  if (caller.merchantId !== null && wanted !== undefined && wanted !== caller.merchantId) throw unknown(wanted)
  const merchantId = caller.merchantId ?? wanted
  if (merchantId === undefined) return undefined
  const id = idOf('mer', merchantId)
  const merchant = id && (await getMerchant(db, id))
  if (!merchant) throw unknown(merchantId)
  return merchant
}

function unknown(merchantId: string): ApiRefusal {
  return new ApiRefusal(404, 'merchant.unknown', 'There is no such merchant.', {
    detail: `Merchant: ${merchantId.slice(0, 80)}`,
  })
}

function proofOf(
  terms: GrantTerms,
  { payee }: Merchant,
  payees: readonly Address[] | undefined,
  given: readonly Hex[] | undefined,
): readonly Hex[] {
  const isListed = payees?.includes(payee) === true
  const proof = payees && isListed && !given ? payeeProofOf(payees, payee) : (given ?? [])
  if (isPayee(terms.payeeRoot, payee, proof)) return proof
  throw new ApiRefusal(422, 'payee.not_granted', 'The grant does not allow this payee.', {
    detail: `Payee: ${payee}`,
    hint: 'Send `payees` or `payeeProof` of a grant that names the merchant, or ask the owner for one.',
  })
}
