import {
  createVoucherHasher,
  maxUint128,
  signVoucher,
  type Voucher,
  verifyVoucher,
} from '@protocolbanks/stream-protocol'
import type { AgentGrant } from '@protocolbanks/stream-sdk'
import type { Browser, Page } from 'playwright-core'
import { keccak256, toHex } from 'viem'
import { generatePrivateKey, privateKeyToAddress } from 'viem/accounts'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { bundlePage, openPage } from './testing/openPage.ts'
import { type PaidServer, startPaidServer } from './testing/startPaidServer.ts'

// The same sources as on Node, bundled for a real browser: there noble signs what libsecp256k1 signs here.

/** The bundle's global in the page. */
declare const streamPage: typeof import('./testing/browserPage.ts')

const price = 10_000n
const privateKey = generatePrivateKey()
const sessionKey = privateKeyToAddress(privateKey)
const payee = randomAddress()
const grant: AgentGrant = {
  grantId: keccak256(sessionKey),
  account: randomAddress(),
  chainId: 31_337,
  module: randomAddress(),
  token: randomAddress(),
  payees: [payee],
}
const hash = createVoucherHasher(grant)
const vouchers: Voucher[] = [0n, 1n, 10_000n, 2n ** 53n + 1n, 2n ** 64n, maxUint128].map((cumulativeAmount) => ({
  grantId: keccak256(toHex(cumulativeAmount)),
  payee: randomAddress(),
  cumulativeAmount,
}))

let inputs: string[]
let server: PaidServer
let browser: Browser
let page: Page
/** What went wrong in the page beside what it returned. */
let pageErrors: string[]

beforeAll(async () => {
  const bundle = await bundlePage()
  inputs = bundle.inputs
  server = await startPaidServer({ grant, sessionKey, payee, price, script: bundle.script })
  const opened = await openPage(server.url)
  browser = opened.browser
  page = opened.page
  pageErrors = opened.errors
})
afterAll(async () => {
  await browser?.close()
  await server?.close()
})

test('a bundle for browsers takes the JavaScript curve, and nothing that is native', () => {
  const curves = inputs.filter((input) => input.includes('protocol/src/secp256k1/'))
  expect(curves.map((input) => input.split('/').at(-1)).sort()).toEqual(['noble.ts', 'secp256k1.ts'])
  expect(inputs.filter((input) => input.includes('node_modules/secp256k1/'))).toEqual([])
})

test('a browser signs every voucher with the very bytes that Node signs', async () => {
  const native = vouchers.map((voucher) => signVoucher(hash, privateKey, voucher).signature)
  const signed = await page.evaluate(
    ({ domain, privateKey, vouchers }) => streamPage.signInPage(domain, privateKey, vouchers),
    { domain: { chainId: grant.chainId, module: grant.module }, privateKey, vouchers },
  )
  expect(signed).toEqual(native)
  const verified = vouchers.map((voucher, index) => {
    const signature = signed[index] ?? '0x'
    return verifyVoucher(hash, { ...voucher, signature }, sessionKey) !== undefined
  })
  expect(verified).toEqual(vouchers.map(() => true))
})

test('a browser accepts what Node signed, and refuses another amount, payee, key or chain', async () => {
  const domain = { chainId: grant.chainId, module: grant.module }
  const verify = (options: Parameters<typeof streamPage.verifyInPage>) =>
    page.evaluate((options) => streamPage.verifyInPage(...options), options)

  const signed = vouchers.map((voucher) => signVoucher(hash, privateKey, voucher))
  expect(await verify([domain, sessionKey, signed])).toEqual(signed.map(() => true))

  const forged = signed.flatMap((voucher) => [
    { ...voucher, cumulativeAmount: voucher.cumulativeAmount ^ 1n },
    { ...voucher, payee: randomAddress() },
  ])
  expect(await verify([domain, sessionKey, forged])).toEqual(forged.map(() => false))
  expect(await verify([domain, randomAddress(), signed])).toEqual(signed.map(() => false))
  expect(await verify([{ ...domain, chainId: 1 }, sessionKey, signed])).toEqual(signed.map(() => false))
})

test('an agent in a browser pays for calls, many at once, each charged once and receipted', async () => {
  const calls = 8
  const { bodies, receipts } = await page.evaluate((options) => streamPage.payInPage(options), {
    grant,
    sessionKey: privateKey,
    url: `${server.url}/paid/weather?city=Oslo`,
    calls,
  })
  expect(bodies).toEqual(bodies.map(() => 'served /paid/weather?city=Oslo'))
  expect(bodies).toHaveLength(calls)
  // One question for the price, then one request a call.
  expect(server.unpaid).toBe(1)
  expect(server.paidCalls).toHaveLength(calls)
  expect(server.charged).toBe(BigInt(calls) * price)
  expect(receipts.map(({ amountAtomic }) => amountAtomic)).toEqual(receipts.map(() => price))
  expect(new Set(receipts.map(({ requestId }) => requestId)).size).toBe(calls)
  expect(server.paidCalls.every(({ userAgent }) => userAgent?.includes('Chrome'))).toBe(true)
  expect(pageErrors).toEqual([])
})

test("an agent in a browser signs nothing above the agent's own limit", async () => {
  const before = server.paidCalls.length
  const code = await page.evaluate((options) => streamPage.refusalInPage(options), {
    grant,
    sessionKey: privateKey,
    url: `${server.url}/paid/weather`,
    maxPerCall: price - 1n,
  })
  expect(code).toBe('agent.limit_exceeded')
  expect(server.paidCalls).toHaveLength(before)
})

/** An address nobody else has. */
function randomAddress() {
  return privateKeyToAddress(generatePrivateKey())
}
