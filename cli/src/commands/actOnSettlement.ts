import type { Context, ExitCode } from '../context.ts'
import { settlementWithItemsSchema } from '../schemas.ts'
import { settlementText } from './showSettlement.ts'

/** Makes a dead settlement due again. */
export function retrySettlement(context: Context, id: string, { note }: { note: string }): Promise<ExitCode> {
  return act(context, `/settlements/${encodeURIComponent(id)}/retry`, { note })
}

/** Gives a dead settlement's debt up. */
export function writeOffSettlement(
  context: Context,
  id: string,
  { note, reason }: { note: string; reason: string },
): Promise<ExitCode> {
  return act(context, `/settlements/${encodeURIComponent(id)}/write-off`, { note, reason })
}

async function act({ client, json, print }: Context, path: string, body: Record<string, string>): Promise<ExitCode> {
  const settlement = await client.post(path, body, settlementWithItemsSchema)
  print(json ? JSON.stringify(settlement, null, 2) : settlementText(settlement))
  return 0
}
