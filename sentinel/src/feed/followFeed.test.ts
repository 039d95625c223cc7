import { createServer, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { pino } from 'pino'
import { afterEach, expect, test } from 'vitest'
import { followFeed } from './followFeed.ts'

const logger = pino({ level: 'silent' })
const servers: Server[] = []
afterEach(async () => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  }
})

/** A gateway that does with each reader what it is told. */
async function startGateway(answer: (response: ServerResponse, reader: number) => void): Promise<string> {
  let readers = 0
  const server = createServer((request, response) => {
    if (request.headers.authorization !== 'Bearer operator') return response.writeHead(401).end()
    response.writeHead(200, { 'content-type': 'application/x-ndjson' })
    answer(response, readers++)
  })
  servers.push(server)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

const lineOf = (atMs: number) => `${JSON.stringify({ atMs, events: [] })}\n`

async function read(urls: string[], count: number, options: { silenceMs?: number } = {}): Promise<number[]> {
  const stopping = new AbortController()
  const told: number[] = []
  const feed = followFeed({
    gatewayUrls: urls,
    apiKey: 'operator',
    signal: stopping.signal,
    logger,
    pauseMs: 1,
    ...options,
  })
  for await (const { atMs } of feed) {
    told.push(atMs)
    if (told.length === count) stopping.abort()
  }
  return told
}

test('lines are read however the network cuts them', async () => {
  const url = await startGateway((response) => {
    const text = [1, 2, 3].map(lineOf).join('')
    response.write(text.slice(0, 5))
    setTimeout(() => response.write(text.slice(5, 40)), 5)
    setTimeout(() => response.write(text.slice(40)), 10)
  })
  expect(await read([url], 3)).toEqual([1, 2, 3])
})

test('a gateway that ends, refuses or falls silent is left for the next', async () => {
  const ends = await startGateway((response) => response.end(lineOf(1)))
  const silent = await startGateway((response) => response.write(lineOf(2)))
  const works = await startGateway((response, reader) => response.write(lineOf(3 + reader)))
  const refuses = 'http://127.0.0.1:1'
  expect(await read([ends, refuses, silent, works], 3, { silenceMs: 5_000 })).toEqual([1, 2, 3])
})

test('what is no line of the feed is not taken for one', async () => {
  const lies = await startGateway((response) => response.write('{"atMs":1,"events":[{"eventId":"x"}]}\n'))
  const works = await startGateway((response) => response.write(lineOf(7)))
  expect(await read([lies, works], 1)).toEqual([7])
})
