import { expect, test } from 'vitest'
import type { Offer } from './offer.ts'
import { createPriceBook } from './priceBook.ts'

function offer(scope: string, price = 1n): Offer {
  const payee = `0x${'aa'.repeat(20)}` as const
  const accepted = {
    scheme: 'session',
    network: 'eip155:1',
    amount: `${price}`,
    asset: '0x',
    payTo: payee,
    maxTimeoutSeconds: 60,
  }
  return { accepted, price, pricing: { kind: 'call' }, payee, service: 'weather', scope }
}

const url = (path: string, origin = 'https://api.example') => new URL(path, origin)
const get = (path: string, origin?: string, method = 'GET') => ({ url: url(path, origin), method })

test('a price holds for its scope, whole path segments only, and for no other origin', () => {
  const prices = createPriceBook()
  prices.learn(url('/weather/today'), offer('/weather'))
  expect(prices.find(get('/weather?city=Oslo'))).toMatchObject({ scope: '/weather' })
  expect(prices.find(get('/weather/a/b/c'))).toMatchObject({ scope: '/weather' })
  expect(prices.find(get('/weatherman'))).toBe(undefined)
  expect(prices.find(get('/'))).toBe(undefined)
  expect(prices.find(get('/weather', 'https://other.example'))).toBe(undefined)
  expect(prices.find(get('/weather', 'http://api.example'))).toBe(undefined)
})

test('the longest scope wins, and / covers everything', () => {
  const prices = createPriceBook()
  prices.learn(url('/a'), offer('/', 1n))
  prices.learn(url('/a/b/c'), offer('/a/b', 2n))
  expect(prices.find(get('/a/b/d'))).toMatchObject({ price: 2n })
  expect(prices.find(get('/a/x'))).toMatchObject({ price: 1n })
})

test('a scope that does not cover the URL it came from holds for that path alone', () => {
  const prices = createPriceBook()
  prices.learn(url('/mine'), offer('/yours'))
  expect(prices.find(get('/mine'))).toMatchObject({ service: 'weather' })
  expect(prices.find(get('/yours'))).toBe(undefined)
})

test('a free path stays free beside a paid scope, until it asks for a price itself', () => {
  const prices = createPriceBook()
  prices.learnFree(url('/docs'))
  prices.learn(url('/weather'), offer('/'))
  expect(prices.find(get('/docs'))).toBe('free')
  expect(prices.find(get('/docs/more'))).toMatchObject({ scope: '/' })
  prices.learn(url('/docs'), offer('/'))
  expect(prices.find(get('/docs'))).toMatchObject({ scope: '/' })
})

test('it forgets the least recently used path and origin instead of growing', () => {
  const prices = createPriceBook()
  for (let index = 0; index < 600; index++) prices.learnFree(url(`/path/${index}`))
  expect(prices.find(get('/path/0'))).toBe(undefined)
  expect(prices.find(get('/path/599'))).toBe('free')
  for (let index = 0; index < 300; index++) prices.learnFree(url('/', `https://host-${index}.example`))
  expect(prices.knows('https://api.example')).toBe(false)
  expect(prices.knows('https://host-299.example')).toBe(true)
})

test('prices that differ within a scope are each remembered, by method, path and query', () => {
  const prices = createPriceBook()
  prices.learn(url('/draw'), offer('/', 1n))
  prices.learnChanged(get('/draw?size=large'), offer('/', 4n))
  prices.learnChanged(get('/draw?size=small'), offer('/', 2n))
  expect(prices.find(get('/draw?size=large'))).toMatchObject({ price: 4n })
  expect(prices.find(get('/draw?size=small'))).toMatchObject({ price: 2n })
  prices.learnChanged(get('/draw', undefined, 'POST'), offer('/', 8n))
  expect(prices.find(get('/draw?size=large'))).toMatchObject({ price: 4n })
  expect(prices.find(get('/draw?size=any', undefined, 'POST'))).toMatchObject({ price: 8n })
  // What changed for everybody is known everywhere else at once.
  expect(prices.find(get('/other'))).toMatchObject({ price: 8n })
})
