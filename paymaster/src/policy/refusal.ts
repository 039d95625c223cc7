/** Why an operation is not sponsored: values, not exceptions. JSON-RPC codes are in rpc/rpcError.ts. */
export type Refusal = {
  code: RefusalCode
  /** One sentence with the values: what rule failed, and what would pass. */
  reason: string
  /** The values, for programs. */
  values: Record<string, string>
}

export type RefusalCode =
  /** Another EntryPoint or chain than ours. */
  | 'sponsor.wrong_chain'
  | 'sponsor.wrong_entry_point'
  /** Neither a settlement, nor a grant's setup, nor a control call of our module. */
  | 'sponsor.call_not_sponsored'
  /** The call names another account than the one that sends it. */
  | 'sponsor.other_account'
  /** The nonce key does not belong to who has to sign this kind. */
  | 'sponsor.nonce_key'
  /** A factory other than ours, or one where none belongs. */
  | 'sponsor.factory'
  /** An EOA's delegation (EIP-7702) to other code than ours, or one where none belongs. */
  | 'sponsor.delegation'
  | 'sponsor.token'
  /** No such grant is known, or not yet. */
  | 'sponsor.grant_unknown'
  /** Frozen, revoked, outside its validity, or its account is frozen. */
  | 'sponsor.grant_not_live'
  /** The API key may not sponsor this operation. */
  | 'sponsor.not_yours'
  | 'sponsor.merchant_unknown'
  | 'sponsor.gas_missing'
  | 'sponsor.gas_above_limit'
  | 'sponsor.fee_above_limit'
  /** The day's gas is spent. The only refusal that time alone ends. */
  | 'sponsor.budget_exceeded'

export function refuse(
  code: RefusalCode,
  reason: string,
  values: Record<string, string | bigint | number> = {},
): Refusal {
  return {
    code,
    reason,
    values: Object.fromEntries(Object.entries(values).map(([name, value]) => [name, String(value)])),
  }
}
