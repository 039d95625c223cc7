import { PBStream, type Price } from '@protocolbanks/stream-sdk'

/** What the handler of a paid call is told to do by the test: the same for each framework, in whatever process it runs. */
export type Behaviour =
  | { kind: 'answer'; status: number; body: unknown; units?: number }
  | { kind: 'throw'; message: string }
  /** Server-sent events, one each; with `endless` the last one again and again until the reader leaves. */
  | { kind: 'stream'; parts: string[]; endless: boolean; breaks: boolean; unitsPerPart?: number }

/** Asks the test. It answers when it likes, and counts how often it was asked. */
export async function askBehaviour(controlUrl: string, path: string, body: unknown): Promise<Behaviour> {
  const answer = await fetch(controlUrl, { method: 'POST', body: JSON.stringify({ path, body: body ?? null }) })
  return (await answer.json()) as Behaviour
}

/** The events of a stream, with a breath between them. `report` counts units before each. */
export async function* eventsOf(
  { parts, endless, breaks, unitsPerPart }: Extract<Behaviour, { kind: 'stream' }>,
  report: (units: number) => void = () => {},
) {
  const encoder = new TextEncoder()
  for (let index = 0; index < (endless ? 2_000 : parts.length); index++) {
    if (index > 0) await new Promise((resolve) => setTimeout(resolve, 5))
    if (unitsPerPart !== undefined) report(unitsPerPart)
    yield encoder.encode(parts[Math.min(index, parts.length - 1)])
  }
  if (breaks) throw new Error('the source broke')
}

export type Merchant = { url: string; close(): Promise<void> }

export type StartMerchant = (options: { gatewayUrl: string; controlUrl: string }) => Promise<Merchant>

/** What each merchant charges, by the first segment of the path. */
export const prices = {
  paid: '0.02',
  units: { unit: 'word', rate: '0.001', max: '0.005' },
  tokens: {
    token: { input: { price: '1', per: 1_000_000 }, output: { price: '4', per: 1_000_000 } },
    max: '0.02',
  },
} satisfies Record<string, Price>

export type Priced = keyof typeof prices

/** One for each price. */
export function createStreams(gatewayUrl: string): [prefix: Priced, stream: PBStream][] {
  const of = (prefix: Priced): [Priced, PBStream] => [
    prefix,
    new PBStream({ apiKey: 'test-key', service: 'weather', price: prices[prefix], gatewayUrl }),
  ]
  return [of('paid'), of('units'), of('tokens')]
}
