/** What the handler of a paid call is told to do by the test: the same for each framework, in whatever process it runs. */
export type Behaviour =
  | { kind: 'answer'; status: number; body: unknown }
  | { kind: 'throw'; message: string }
  /** Server-sent events, one each; with `endless` the last one again and again until the reader leaves. */
  | { kind: 'stream'; parts: string[]; endless: boolean; breaks: boolean }

/** Asks the test. It answers when it likes, and counts how often it was asked. */
export async function askBehaviour(controlUrl: string, path: string, body: unknown): Promise<Behaviour> {
  const answer = await fetch(controlUrl, { method: 'POST', body: JSON.stringify({ path, body: body ?? null }) })
  return (await answer.json()) as Behaviour
}

/** The events of a stream, with a breath between them. */
export async function* eventsOf({ parts, endless, breaks }: Extract<Behaviour, { kind: 'stream' }>) {
  const encoder = new TextEncoder()
  for (let index = 0; index < (endless ? 2_000 : parts.length); index++) {
    if (index > 0) await new Promise((resolve) => setTimeout(resolve, 5))
    yield encoder.encode(parts[Math.min(index, parts.length - 1)])
  }
  if (breaks) throw new Error('the source broke')
}

export type Merchant = { url: string; close(): Promise<void> }

export type StartMerchant = (options: { gatewayUrl: string; controlUrl: string }) => Promise<Merchant>

/** What each merchant charges. */
export const options = { apiKey: 'test-key', service: 'weather', ratePerCall: '0.02' }
