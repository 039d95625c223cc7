import { readFileSync } from 'node:fs'
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
      "LimitExceededError",
      "OfferUnmatchedError",
      "PBStream",
      "PaymentRedirectedError",
      "PaymentRefusedError",
      "ReleaseFailedError",
      "UnsupportedUrlError",
      "createPayingFetch",
      "defaultGatewayUrl",
      "parseGrant",
    ]
  `)
})

test('nothing but the entry point can be imported', () => {
  const { exports } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'))
  expect(Object.keys(exports)).toEqual(['.'])
})
