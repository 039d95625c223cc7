import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createPublicClient, http } from 'viem'
import { generatePrivateKey, privateKeyToAccount } from 'viem/accounts'
import { afterEach, expect, test } from 'vitest'
import { ChainUnreachableError, createOwnerSignatureVerifier } from './verifyOwnerSignature.ts'

// What a chain says of accounts is tested with accounts on a chain: test/src/owners.test.ts. This is about one that is gone.

const servers: Server[] = []
afterEach(() => {
  for (const server of servers.splice(0)) {
    server.close()
    server.closeAllConnections()
  }
})

/** A node that answers every request with this, when it is let. */
async function startNode(status: number, body: string, held: Promise<void> = Promise.resolve()) {
  let asked = 0
  const server = createServer(async (request, response) => {
    asked++
    request.resume()
    await held
    response.writeHead(status, { 'content-type': 'application/json' }).end(body)
  })
  servers.push(server)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return {
    client: createPublicClient({ transport: http(url, { retryCount: 0, timeout: 60_000 }) }),
    asked: () => asked,
  }
}

const owner = privateKeyToAccount(generatePrivateKey())
const message = 'Let me in.'
const bounds = { maxAtOnce: 2, maxWaiting: 1 }

test.each([
  ['is not there', 'refused'],
  ['answers 503', 'error'],
])('when the chain %s, a contract has neither signed nor not signed', async (_, kind) => {
  const { client } = await startNode(503, '{}')
  if (kind === 'refused') for (const server of servers.splice(0)) server.close()
  const verify = createOwnerSignatureVerifier(client, bounds)
  const signature = await owner.signMessage({ message })
  const other = privateKeyToAccount(generatePrivateKey()).address
  await expect(verify({ account: other, message, signature })).rejects.toThrow(ChainUnreachableError)
  // A key needs no chain.
  expect(await verify({ account: owner.address, message, signature })).toBe(true)
})

test('a chain that says no is an answer', async () => {
  const reverted = { jsonrpc: '2.0', id: 1, error: { code: 3, message: 'execution reverted', data: '0x' } }
  const { client } = await startNode(200, JSON.stringify(reverted))
  const verify = createOwnerSignatureVerifier(client, bounds)
  const other = privateKeyToAccount(generatePrivateKey()).address
  expect(await verify({ account: other, message, signature: await owner.signMessage({ message }) })).toBe(false)
})

test('a signature that brings a delegation with it is refused without asking anybody', async () => {
  const { client, asked } = await startNode(200, '{}')
  const verify = createOwnerSignatureVerifier(client, bounds)
  expect(await verify({ account: owner.address, message, signature: `0x00${'8010'.repeat(16)}` })).toBe(false)
  expect(asked()).toBe(0)
})

test('the chain is asked a bounded number of things at once; who comes too late is told so', async () => {
  let release = () => {}
  const held = new Promise<void>((resolve) => {
    release = resolve
  })
  const reverted = { jsonrpc: '2.0', id: 1, error: { code: 3, message: 'execution reverted', data: '0x' } }
  const { client, asked } = await startNode(200, JSON.stringify(reverted), held)
  const verify = createOwnerSignatureVerifier(client, bounds)
  const signature = await owner.signMessage({ message })
  const ask = () => verify({ account: privateKeyToAccount(generatePrivateKey()).address, message, signature })
  const running = [ask(), ask(), ask()]
  await expect.poll(asked).toBe(2)
  await expect(ask()).rejects.toThrow(/Too many signatures/)
  expect(asked()).toBe(2)
  release()
  expect(await Promise.all(running)).toEqual([false, false, false])
  expect(asked()).toBe(3)
})
