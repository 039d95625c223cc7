import type { Hex } from '@protocolbanks/stream-protocol'
import { sql } from 'drizzle-orm'
import { getAddress } from 'viem'
import type { Queryable } from '../createDb.ts'
import type { Breaker, BreakerState } from './breaker.ts'
import type { Severity } from './incidents.ts'
import type { Stop } from './stops.ts'

/** A breaker that may move, with all that decides on it. */
export type BreakerView = Breaker & {
  /** Of the chain, by the mirror; revoked also when a new epoch ended the grant. */
  chainStatus: 'active' | 'frozen' | 'revoked'
  /** The newest. */
  stop: Pick<Stop, 'id' | 'kind' | 'chainState'> & { refused: boolean }
  /** Of freezes, since `stopsSince`, the newest among them. */
  stopsLately: number
  /** Its owner's signature resumed it on the chain, after the stop was done there. */
  unfrozen: boolean
  /** The mirror has the stop's block, and in it the grant is not stopped: that block was replaced. */
  lost: boolean
  /** Its owner said so since it was opened. */
  confirmed: boolean
  severity: Severity
  /** Base units that were accepted and not settled, and the most the grant may ever pay. */
  accepted: bigint
  totalLimit: bigint
}

/** Of breakers that are open or half open, by their grant's id, from the one after `after` on. */
export async function listBreakerViews(
  db: Queryable,
  { after = '0x', stopsSince, limit }: { after?: string | undefined; stopsSince: Date; limit: number },
): Promise<BreakerView[]> {
  const { rows } = await db.execute<Row>(sql`
    select b.*, s.id as stop_id, s.kind, s.chain_state, s.refused_at is not null as refused, i.severity, i.accepted,
      g.total_limit,
      case when g.status = 'revoked' or a.epoch > g.epoch then 'revoked' else g.status end as chain_status,
      resumed.is as unfrozen,
      s.chain_state = 'confirmed' and g.status = 'active' and not resumed.is
        and s.block_number <= coalesce((select min(block_number) from indexer_cursor), -1) as lost,
      (select count(*) from sentinel_stop n
        where n.grant_id = b.grant_id and n.kind = 'freeze' and n.created_at > ${stopsSince.toISOString()}::timestamptz
      )::integer as stops_lately,
      exists (select from sentinel_decision d
        where d.grant_id = b.grant_id and d.decision = 'confirm' and d.decided_at >= b.since) as confirmed
    from sentinel_breaker b
    join "grant" g on g.grant_id = b.grant_id
    join sentinel_incident i on i.id = b.incident_id
    left join account a on a.account = g.account and a.token = g.token
    cross join lateral (
      select * from sentinel_stop t where t.grant_id = b.grant_id order by t.id desc limit 1
    ) s
    cross join lateral (
      select g.status = 'active' and s.chain_state = 'confirmed' and exists (
        select from chain_event e
        where e.grant_id = b.grant_id and e.name = 'GrantUnfrozen'
          and (e.block_number, e.log_index) > (s.block_number, coalesce(s.log_index, 2147483647))) as is
    ) resumed
    where b.state in ('open', 'half_open') and b.grant_id > ${after}
    order by b.grant_id limit ${limit}`)
  return rows.map((row) => ({
    grantId: row.grant_id,
    account: getAddress(row.account),
    state: row.state,
    since: new Date(row.since),
    incidentId: row.incident_id,
    liftedAt: row.lifted_at === null ? null : new Date(row.lifted_at),
    updatedAt: new Date(row.updated_at),
    chainStatus: row.chain_status === 'frozen' || row.chain_status === 'revoked' ? row.chain_status : 'active',
    stop: { id: row.stop_id, kind: row.kind, chainState: row.chain_state, refused: row.refused },
    stopsLately: row.stops_lately,
    unfrozen: row.unfrozen,
    lost: row.lost,
    confirmed: row.confirmed,
    severity: row.severity,
    accepted: BigInt(row.accepted),
    totalLimit: BigInt(row.total_limit),
  }))
}

type Row = {
  grant_id: Hex
  account: string
  state: BreakerState
  since: string | Date
  incident_id: string
  lifted_at: string | Date | null
  updated_at: string | Date
  chain_status: string
  stop_id: string
  kind: Stop['kind']
  chain_state: Stop['chainState']
  refused: boolean
  stops_lately: number
  unfrozen: boolean
  lost: boolean
  confirmed: boolean
  severity: Severity
  accepted: string
  total_limit: string
}
