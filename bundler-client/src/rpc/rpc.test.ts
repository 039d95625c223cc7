import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { BaseError } from '@protocolbanks/stream-protocol'
import { keccak256, stringToHex } from 'viem'
import { afterEach, expect, test } from 'vitest'
import { dummySignature } from '../accounts/dummySignature.ts'
import { entryPoint08 } from '../accounts/entryPoint.ts'
import { UserOperationTimeoutError } from '../errors/bundlerErrors.ts'
import { examples } from '../testing/examples.ts'
import type { UserOperation } from '../userOperation/userOperation.ts'
import { createBundler } from './bundler.ts'
import { createSponsor } from './sponsor.ts'
import { waitForTransaction } from './waitForTransaction.ts'

// Servers here answer what a bundler or paymaster answered once; test/src holds the clients to real ones.

const servers: Server[] = []
afterEach(async () => {
  for (const server of servers.splice(0)) await new Promise((resolve) => server.close(resolve))
})

const userOpHash = keccak256(stringToHex('operation'))
const chainId = examples.chainId
const op: UserOperation = {
  sender: examples.account,
  nonce: 0n,
  callData: '0x',
  callGasLimit: 1n,
  verificationGasLimit: 1n,
  preVerificationGas: 1n,
  maxFeePerGas: 1n,
  maxPriorityFeePerGas: 1n,
  signature: dummySignature,
}

type RpcError = { code?: number; message: string; data?: unknown }

test.each<[RpcError, { code: string; retryable: boolean }]>([
  [
    { code: -32500, message: 'UserOperation failed validation with reason: AA25 invalid account nonce' },
    { code: 'bundler.nonce', retryable: true },
  ],
  [
    {
      code: -32602,
      message:
        'AA25 invalid account nonce: User operation already present in mempool, bump the gas price by minimum 10%',
    },
    { code: 'bundler.nonce', retryable: true },
  ],
  [
    {
      code: -32602,
      message:
        'AA25 invalid account nonce: Another UserOperation with same sender and nonce is already being processed',
    },
    { code: 'bundler.nonce_busy', retryable: true },
  ],
  [
    {
      code: -32602,
      message: 'maxFeePerGas must be at least 12 (current maxFeePerGas: 1) - use pimlico_getUserOperationGasPrice',
    },
    { code: 'bundler.fee_too_low', retryable: true },
  ],
  [
    { code: -32500, message: 'preVerificationGas is not enough, required: 10, got: 1' },
    { code: 'bundler.gas_too_low', retryable: true },
  ],
  [
    { code: -32602, message: 'User operation gas limits exceed the max gas per userOp: 10 > 1' },
    { code: 'bundler.gas_too_high', retryable: false },
  ],
  [
    { code: -32507, message: 'Invalid UserOp signature' },
    { code: 'account.signature', retryable: false },
  ],
  [
    { code: -32507, message: 'Invalid UserOp paymasterData' },
    { code: 'paymaster.validation', retryable: true },
  ],
  [
    { code: -32503, message: 'expires too soon' },
    { code: 'bundler.expired', retryable: true },
  ],
  [
    { code: -32500, message: 'AA20 account not deployed' },
    { code: 'account.not_deployed', retryable: false },
  ],
  [
    { code: -32500, message: 'AA23 reverted' },
    { code: 'account.validation', retryable: false },
  ],
  [
    { code: -32500, message: 'AA31 paymaster deposit too low' },
    { code: 'paymaster.deposit', retryable: true },
  ],
  [
    { code: -32508, message: 'paymaster balance' },
    { code: 'paymaster.deposit', retryable: true },
  ],
  [
    { code: -32502, message: 'account uses banned opcode: TIMESTAMP' },
    { code: 'bundler.forbidden', retryable: false },
  ],
  [
    { code: -32504, message: 'paymaster is throttled' },
    { code: 'bundler.throttled', retryable: true },
  ],
  [
    { code: -32521, message: 'reverted', data: '0x12345678' },
    { code: 'bundler.reverted', retryable: false },
  ],
  [
    { code: -32602, message: 'sender: must be an address' },
    { code: 'bundler.invalid', retryable: false },
  ],
  [
    { code: -32603, message: 'internal error' },
    { code: 'bundler.unavailable', retryable: true },
  ],
  [{ message: 'something new' }, { code: 'bundler.refused', retryable: false }],
])('a bundler that answers %o is understood', async (error, expected) => {
  const bundler = bundlerAt(await serve(() => ({ error })))
  const thrown = await failure(bundler.send(op))
  expect({ code: thrown.code, retryable: thrown.retryable }).toEqual(expected)
  expect(thrown.message).toContain(error.message.slice(0, 40))
})

test('nobody at the address, a web server’s error page and no answer in time are one thing: unavailable', async () => {
  const gone = await serve(() => ({ result: null }))
  await new Promise((resolve) => servers.pop()?.close(resolve))
  const page = await serve(() => undefined)
  const silent = await serve(() => new Promise(() => {}))
  for (const url of [gone, page, silent]) {
    expect(await failure(bundlerAt(url).send(op))).toMatchObject({ code: 'bundler.unavailable', retryable: true })
  }
})

test('waiting for a receipt ends after its time with the hash, whatever the bundler does meanwhile', async () => {
  const bundler = bundlerAt(await serve(() => ({ result: null })))
  const waiting = waitForTransaction(bundler, userOpHash, { timeoutMs: 120, pollMs: 20 })
  await expect(waiting).rejects.toThrow(UserOperationTimeoutError)
  await expect(waiting).rejects.toThrow(userOpHash)
  const unreachable = waitForTransaction(bundlerAt('http://127.0.0.1:1'), userOpHash, { timeoutMs: 120, pollMs: 20 })
  await expect(unreachable).rejects.toThrow(UserOperationTimeoutError)
})

test('waiting ends at once when it is aborted', async () => {
  const bundler = bundlerAt(await serve(() => ({ result: null })))
  const startedAt = performance.now()
  const waiting = waitForTransaction(bundler, userOpHash, {
    timeoutMs: 120_000,
    pollMs: 60_000,
    signal: AbortSignal.timeout(50),
  })
  await expect(waiting).rejects.toThrow(UserOperationTimeoutError)
  expect(performance.now() - startedAt).toBeLessThan(30_000)
})

test('a bundler of another chain or EntryPoint does not pass the ping', async () => {
  const answers: Record<string, unknown> = { eth_chainId: '0x1', eth_supportedEntryPoints: [entryPoint08.address] }
  const bundler = bundlerAt(await serve(({ method }) => ({ result: answers[method] })))
  expect(await failure(bundler.ping())).toMatchObject({ code: 'bundler.unavailable' })
  answers.eth_chainId = '0x7a69'
  await bundler.ping()
})

test('fees are the bundler’s own where it tells them, else the chain’s with a margin', async () => {
  const fast = { maxFeePerGas: '0x10', maxPriorityFeePerGas: '0x8' }
  const telling = bundlerAt(await serve(() => ({ result: { fast } })))
  expect(await telling.fees()).toEqual({ maxFeePerGas: 16n, maxPriorityFeePerGas: 8n })
  const silent = bundlerAt(await serve(() => ({ error: { code: -32601, message: 'no such method' } })))
  expect(await silent.fees()).toEqual({ maxFeePerGas: 200n, maxPriorityFeePerGas: 5n })
})

test('the API key travels in a header, and a refusal keeps its code and whether to try again', async () => {
  let authorization: string | undefined
  const url = await serve((request) => {
    authorization = request.authorization
    return { error: { code: -32012, message: 'spent', data: { code: 'sponsor.budget_exceeded', retryable: true } } }
  })
  const sponsor = createSponsor({ url, apiKey: 'key of the test', chainId, entryPoint: entryPoint08 })
  const thrown = await failure(sponsor.sponsor(op))
  expect(thrown).toMatchObject({ code: 'sponsor.budget_exceeded', retryable: true })
  expect(thrown.message).toContain('spent')
  expect(authorization).toBe('Bearer key of the test')
})

test('a paymaster that is gone is worth another try', async () => {
  const sponsor = createSponsor({ url: 'http://127.0.0.1:1', apiKey: 'x', chainId, entryPoint: entryPoint08 })
  expect(await failure(sponsor.stub(op))).toMatchObject({ code: 'sponsor.unavailable', retryable: true })
})

function bundlerAt(url: string) {
  const chain = { estimateFeesPerGas: async () => ({ maxFeePerGas: 100n, maxPriorityFeePerGas: 4n }) }
  return createBundler({ url, chainId, entryPoint: entryPoint08, chain: chain as never, timeoutMs: 4_000 })
}

async function failure(promise: Promise<unknown>): Promise<BaseError> {
  return promise.then(
    () => {
      throw new Error('It should have failed.')
    },
    (error: BaseError) => error,
  )
}

type Answer = { result: unknown } | { error: RpcError } | undefined

/** Answers each JSON-RPC call with what `answer` says; undefined is an HTTP 502 with a page. */
async function serve(
  answer: (request: { method: string; authorization: string | undefined }) => Answer | Promise<Answer>,
): Promise<string> {
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk)
    const { id, method } = JSON.parse(Buffer.concat(chunks).toString()) as { id: number; method: string }
    const said = await answer({ method, authorization: request.headers.authorization })
    response.setHeader('connection', 'close')
    if (!said) response.writeHead(502, { 'content-type': 'text/html' }).end('<h1>Bad gateway</h1>')
    else response.setHeader('content-type', 'application/json').end(JSON.stringify({ jsonrpc: '2.0', id, ...said }))
  })
  servers.push(server)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}
