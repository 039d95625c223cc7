import { setTimeout as delay } from 'node:timers/promises'
import type { z } from 'zod'
import { CliError } from '../cliError.ts'
import type { Context, ExitCode } from '../context.ts'
import { formatFields, formatTable } from '../formatTable.ts'
import { reconciliationSchema, reconciliationWithDifferencesSchema } from '../schemas.ts'

export type ReconcileOptions = {
  grant?: string | undefined
  /** Show this one instead of asking for a new one. */
  run?: string | undefined
  timeoutSeconds: number
}

const pollMs = 500

/** Asks for a reconciliation, waits for it and prints it. 1 when the books differ. */
export async function reconcile(context: Context, options: ReconcileOptions): Promise<ExitCode> {
  const { client, json, print } = context
  const id =
    options.run ?? (await client.post('/reconciliations', { grantId: options.grant ?? null }, reconciliationSchema)).id
  const done = await waitFor(context, id, options.timeoutSeconds)
  if (json) print(JSON.stringify(done, null, 2))
  else print(reconciliationText(done))
  return done.differences === 0 ? 0 : 1
}

type Done = z.output<typeof reconciliationWithDifferencesSchema>

async function waitFor({ client, clock }: Context, id: string, timeoutSeconds: number): Promise<Done> {
  const deadline = clock() + timeoutSeconds * 1_000
  for (;;) {
    const now = await client.get(`/reconciliations/${encodeURIComponent(id)}`, reconciliationWithDifferencesSchema)
    if (now.state === 'done') return now
    if (now.state === 'failed') {
      throw new CliError('The books could not be compared.', [
        `Reconciliation: ${now.id}`,
        `Code: ${now.errorCode}`,
        now.errorMessage ?? '',
      ])
    }
    if (clock() > deadline) {
      throw new CliError(`The reconciliation is not done after ${timeoutSeconds} s.`, [
        `Reconciliation: ${now.id}, state: ${now.state}`,
        `It goes on by itself. See it with: pb reconcile --run ${now.id}`,
      ])
    }
    await delay(pollMs)
  }
}

function reconciliationText({ id, grantId, blockNumber, totals, differences, found }: Done): string {
  const fields = formatFields([
    ['reconciliation', id],
    ['grant', grantId ?? 'all'],
    ['block', blockNumber],
    ['channels', `${totals?.channels ?? '-'}`],
    ['allowed', totals?.allowedAtomic ?? null],
    ['charged', totals?.chargedAtomic ?? null],
    ['settled', totals?.settledAtomic ?? null],
    ['owed', totals?.owedAtomic ?? null],
    ['of it written off', totals?.writtenOffAtomic ?? null],
    ['payments checked', `${totals?.payments ?? '-'}`],
    ['differences', `${differences}`],
  ])
  if (found.length === 0) return `${fields}\n\nThe books agree.`
  const rows = found.map((one) => [one.kind, one.grantId, one.payee, one.expectedAtomic, one.actualAtomic, one.detail])
  const table = formatTable(['kind', 'grant', 'payee', 'expected', 'actual', 'what'], rows)
  const rest = (differences ?? 0) - found.length
  return `${fields}\n\n${table}${rest > 0 ? `\nand ${rest} more` : ''}`
}
