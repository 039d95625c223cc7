import {
  type Address,
  addressSchema,
  atomicAmountSchema,
  BaseError,
  type Hex,
  hex32Schema,
} from '@protocolbanks/stream-protocol'

/** What an agent knows of the grant it spends from. */
export type AgentGrant = {
  grantId: Hex
  /** The payer's smart account. */
  account: Address
  chainId: number
  /** SessionKeyValidator, the voucher domain's verifying contract. */
  module: Address
  /** ERC-20 the grant is in. Left out: the services' word is taken. */
  token?: Address | undefined
  /** Every payee of the grant: with more than one, the proof is computed from this list. */
  payees: readonly Address[]
  /** Base units. The client never signs above it. */
  totalLimit?: bigint | undefined
}

/**
 * A grant from JSON, e.g. of an environment variable. Amounts are decimal strings of base units; fields that are not
 * the agent's business are ignored.
 *
 * @example parseGrant({ grantId: '0x…', account: '0x…', chainId: 137, module: '0x…', payees: ['0x…'], totalLimit: '5000000' })
 * @throws InvalidGrantError naming every field that is wrong.
 */
export function parseGrant(value: unknown): AgentGrant {
  if (typeof value !== 'object' || value === null) throw new InvalidGrantError(['It is not an object.'])
  const fields = value as Record<string, unknown>
  const problems: string[] = []
  const read = <output>(name: string, field: unknown, schema: FieldSchema<output>): output | undefined => {
    const parsed = schema.safeParse(field)
    if (parsed.success) return parsed.data
    problems.push(`${name}: ${parsed.error?.issues[0]?.message ?? 'is not valid'}`)
    return undefined
  }
  const optional = <output>(name: string, schema: FieldSchema<output>): output | undefined =>
    fields[name] === undefined || fields[name] === null ? undefined : read(name, fields[name], schema)

  const grantId = read('grantId', fields.grantId, hex32Schema)
  const account = read('account', fields.account, addressSchema)
  const module = read('module', fields.module, addressSchema)
  const token = optional('token', addressSchema)
  const totalLimit = optional('totalLimit', atomicAmountSchema)
  const { chainId } = fields
  if (typeof chainId !== 'number' || !Number.isSafeInteger(chainId) || chainId < 1) {
    problems.push('chainId: must be a whole number above zero')
  }
  const payees = Array.isArray(fields.payees)
    ? fields.payees.map((payee, index) => read(`payees[${index}]`, payee, addressSchema))
    : []
  if (payees.length === 0) problems.push('payees: must be a list of at least one address')

  if (problems.length > 0 || !grantId || !account || !module) throw new InvalidGrantError(problems)
  return {
    grantId,
    account,
    chainId: chainId as number,
    module,
    payees: payees.filter((payee) => payee !== undefined),
    ...(token && { token }),
    ...(totalLimit !== undefined && { totalLimit: BigInt(totalLimit) }),
  }
}

type FieldSchema<output> = {
  safeParse(value: unknown): {
    success: boolean
    data?: output | undefined
    error?: { issues: { message: string }[] } | undefined
  }
}

export class InvalidGrantError extends BaseError {
  override readonly code = 'grant.malformed'
  constructor(problems: string[]) {
    super('The grant is not usable.', {
      metaMessages: [...problems, 'Copy the grant as the management API shows it.'],
      docsPath: '/errors#grant-malformed',
    })
  }
}
