import { readdirSync, readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import * as sdk from './index.ts'

test('the public surface is exactly this', () => {
  expect(Object.keys(sdk).sort()).toMatchInlineSnapshot(`
    [
      "BaseError",
      "ChargeDisputedError",
      "GatewayAnswerError",
      "HostNotAllowedError",
      "InvalidGrantError",
      "InvalidLimitError",
      "InvalidMerchantOptionsError",
      "InvalidReportError",
      "LimitExceededError",
      "OfferUnmatchedError",
      "PBStream",
      "PaymentDeclinedError",
      "PaymentRedirectedError",
      "PaymentRefusedError",
      "ReceiptForgedError",
      "ReleaseFailedError",
      "StoredStateError",
      "StreamStoppedError",
      "UnsupportedUrlError",
      "createMemoryStore",
      "createPayingFetch",
      "defaultGatewayUrl",
      "parseGrant",
      "parseReceiptKeys",
      "verifyReceipt",
    ]
  `)
})

test('nothing but the entry point, what needs Node and what tests need can be imported', () => {
  const { exports } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'))
  expect(Object.keys(exports)).toEqual(['.', './node', './testing'])
})

test('nothing of Node is imported at run time, so that it runs in a browser', () => {
  const folders = ['./agent/', './merchant/'].map((folder) => new URL(folder, import.meta.url))
  const files = folders.flatMap((folder) => readdirSync(folder).map((name) => new URL(name, folder)))
  const sources = files.filter(({ pathname }) => !pathname.endsWith('.test.ts'))
  expect(sources.length).toBeGreaterThan(10)
  for (const source of sources) {
    expect(readFileSync(source, 'utf8'), source.pathname).not.toMatch(
      /^import (?!type )[^\n]*from 'node:|\bprocess\.env\b|\bBuffer\./m,
    )
  }
})
