import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type Stack, startStack } from '@protocolbanks/stream-dev'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { giveBudget } from './testing/giveBudget.ts'
import { bundlePage, openPage } from './testing/openPage.ts'
import { openShop, priceAtomic, type Shop } from './testing/openShop.ts'
import { settleAll } from './testing/settleAll.ts'

/** The bundle's global in the page. */
declare const streamPage: typeof import('./testing/browserPage.ts')

const timeout = 480_000

let stack: Stack
let shop: Shop
let pages: Server
beforeAll(async () => {
  stack = await startStack()
  shop = await openShop(stack, 'weather')
  const { script } = await bundlePage()
  pages = createServer((request, response) => {
    const isScript = request.url === '/page.js'
    response.writeHead(200, { 'content-type': isScript ? 'text/javascript' : 'text/html' })
    response.end(isScript ? script : '<!doctype html><meta charset="utf-8"><script src="/page.js"></script>')
  })
  await new Promise<void>((resolve) => pages.listen(0, '127.0.0.1', resolve))
}, timeout)
afterAll(async () => {
  pages?.close()
  await shop?.stop()
  await stack?.stop()
}, 240_000)

test('an agent in a page of another origin pays at the gateway: each call once, with its receipt, and settled', {
  timeout,
}, async () => {
  const budget = await giveBudget(stack, shop)
  const { port } = pages.address() as AddressInfo
  const { page, browser, errors } = await openPage(`http://127.0.0.1:${port}`)
  try {
    const calls = 5
    const { bodies, receipts } = await page.evaluate((options) => streamPage.payInPage(options), {
      grant: budget.agentGrant,
      sessionKey: budget.sessionPrivateKey,
      url: `${shop.url}/oslo`,
      calls,
    })
    expect(bodies).toHaveLength(calls)
    expect(shop.calls).toHaveLength(calls)
    expect(receipts.map(({ amountAtomic }) => amountAtomic)).toEqual(receipts.map(() => priceAtomic))
    expect(new Set(receipts.map(({ requestId }) => requestId)).size).toBe(calls)
    expect(errors).toEqual([])
    const amount = BigInt(calls) * priceAtomic
    const books = await settleAll(stack, shop, budget, amount)
    expect(books).toEqual({ live: amount, charged: amount, settled: amount, received: amount, calls })
  } finally {
    await browser.close()
  }
})
