import { type Stack, startStack } from '@protocolbanks/stream-dev'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openPage } from './testing/openPage.ts'

const timeout = 600_000

let stack: Stack
beforeAll(async () => {
  stack = await startStack()
}, timeout)
afterAll(() => stack?.stop(), 240_000)

test('the reference of the management API opens in a browser, from the gateway alone', { timeout }, async () => {
  const { page, browser, errors } = await openPage('about:blank')
  const asked: string[] = []
  page.on('request', (request) => asked.push(request.url()))
  try {
    await page.goto(`${stack.gateway.url}/api/reference`)
    await page.getByRole('heading', { name: /management API/ }).waitFor({ timeout: 120_000 })
    // What is below the window is drawn when it is come to.
    await page.locator('.operation-filter-input').fill('services')
    const operation = page.locator('#operations-services-createService')
    await operation.waitFor({ timeout: 120_000 })
    await operation.getByRole('button').first().click()
    await operation.getByText('pathPrefix').first().waitFor({ timeout: 120_000 })
    // The charges API is an app of its own in the gateway, and in the same document.
    await page.locator('.operation-filter-input').fill('charges')
    const charging = page.locator('#operations-charges-createCharge')
    await charging.waitFor({ timeout: 120_000 })
    await charging.getByRole('button').first().click()
    await charging.getByText('paymentSignature').first().waitFor({ timeout: 120_000 })
    const { host } = new URL(stack.gateway.url)
    expect(asked.filter((url) => !url.startsWith('data:') && new URL(url).host !== host)).toEqual([])
    expect(errors).toEqual([])
  } finally {
    await browser.close()
  }
})
