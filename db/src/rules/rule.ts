import type { Address, Hex } from '@protocolbanks/stream-protocol'
import { and, eq, isNull, type SQL, sql } from 'drizzle-orm'
import type { PgColumn } from 'drizzle-orm/pg-core'
import type { Queryable } from '../createDb.ts'
import type { IncidentAction, Severity } from '../sentinel/incidents.ts'

/** Whose it is: a merchant's, the owner's of an account, or, with neither, the operator's. */
export type RuleHolder = { merchantId: string | null; account: Address | null }

/** What a rule looks at. A list that is missing leaves nothing out. */
export type RuleScope = {
  grantIds?: Hex[] | undefined
  payees?: Address[] | undefined
  services?: string[] | undefined
}

/** What a rule says, in one of its versions. */
export type RuleTerms = {
  /** For people, 1 to 200 characters. */
  name: string
  /** In the language of docs/rules.md. */
  expression: string
  scope: RuleScope
  action: IncidentAction
  severity: Severity
  /** Of `block`, and only then. */
  blockSeconds: number | null
}

export type Rule = RuleHolder &
  RuleTerms & {
    /** `rul_` and a sortable id. */
    id: string
    /** Only what is live finds anything. */
    state: 'draft' | 'live' | 'off' | 'deleted'
    version: number
    /** The version that could not be evaluated. */
    failedVersion: number | null
    createdAt: Date
    changedAt: Date
  }

/** A version of a rule as it was written, never changed. */
export type RuleVersion = RuleTerms & { ruleId: string; version: number; actor: string; createdAt: Date }

export const maxRules = 20

export function isOf(table: { merchantId: PgColumn; account: PgColumn }, { merchantId, account }: RuleHolder) {
  return and(
    merchantId === null ? isNull(table.merchantId) : eq(table.merchantId, merchantId),
    account === null ? isNull(table.account) : eq(table.account, account),
  )
}

/** One change of what a holder has at a time, so that bounds hold; until the end of the transaction. */
export async function lockHolder(tx: Queryable, what: string, { merchantId, account }: RuleHolder): Promise<void> {
  const name = `stream.${what} ${merchantId ?? account?.toLowerCase() ?? 'operator'}`
  await tx.execute(sql`select pg_advisory_xact_lock(hashtextextended(${name}, 0))`)
}

/** Later than everything that was changed before, by the clock of the database as it is now, not as a transaction began. */
export const changeMoment: SQL<Date> = sql`clock_timestamp()`
