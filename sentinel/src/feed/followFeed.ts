import { setTimeout as delay } from 'node:timers/promises'
import { type UsageFeedLine, usageFeedLineSchema } from '@protocolbanks/stream-protocol'
import type { Logger } from 'pino'

/** Above the longest that a gateway writes: 16,000 charges. */
const maxLineLength = 16 * 1024 * 1024

export type FollowFeedOptions = {
  /** Of the gateways; any of them tells everything. */
  gatewayUrls: readonly string[]
  apiKey: string
  signal: AbortSignal
  logger: Logger
  fetch?: typeof fetch | undefined
  /** A gateway that says nothing for so long is left for the next. 3,000 by default: it says something every second. */
  silenceMs?: number | undefined
  /** Before the next gateway is asked. */
  pauseMs?: number | undefined
}

/** Lines of the feed, from one gateway at a time, until the signal. Charges that were told before come again. */
export async function* followFeed(options: FollowFeedOptions): AsyncGenerator<UsageFeedLine> {
  const { gatewayUrls, signal, logger, pauseMs = 250 } = options
  let failures = 0
  for (let turn = 0; !signal.aborted; turn++) {
    const url = gatewayUrls[turn % gatewayUrls.length] ?? ''
    try {
      for await (const line of readFeed(url, options)) {
        if (failures > 0) logger.info({ failures }, 'the feed of usage is read again')
        failures = 0
        yield line
      }
    } catch (error) {
      if (signal.aborted) return
      if (failures++ === 0)
        logger.warn({ gateway: turn % gatewayUrls.length, reason: firstLine(error) }, 'a feed of usage ended')
    }
    await delay(pauseMs, undefined, { signal }).catch(() => undefined)
  }
}

async function* readFeed(url: string, options: FollowFeedOptions): AsyncGenerator<UsageFeedLine> {
  const { apiKey, signal, fetch: ask = fetch, silenceMs = 3_000 } = options
  const silent = new AbortController()
  const timer = setTimeout(() => silent.abort(new Error(`It said nothing for ${silenceMs} ms.`)), silenceMs)
  try {
    const response = await ask(new URL('/api/usage/feed', url), {
      headers: { authorization: `Bearer ${apiKey}` },
      signal: AbortSignal.any([signal, silent.signal]),
    })
    if (response.status !== 200 || !response.body) {
      await response.body?.cancel()
      throw new Error(`The gateway answered ${response.status}.`)
    }
    for await (const line of linesOf(response.body)) {
      timer.refresh()
      yield usageFeedLineSchema.parse(JSON.parse(line))
    }
  } finally {
    clearTimeout(timer)
    silent.abort()
  }
}

async function* linesOf(body: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder()
  let rest = ''
  for await (const chunk of body) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split('\n')
    rest = lines.pop() ?? ''
    if (rest.length > maxLineLength) throw new Error(`A line of the feed is longer than ${maxLineLength} characters.`)
    yield* lines
  }
}

function firstLine(error: unknown): string {
  return error instanceof Error ? (error.message.split('\n')[0] ?? '').slice(0, 200) : String(error)
}
