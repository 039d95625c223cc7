import { expect, test } from 'vitest'
import { parseServicesFile } from './parseServicesFile.ts'

const payee = '0x70997970C51812dc3A010C7d01b50e0d17dc79C8'
const parse = (text: string) => parseServicesFile(text, { tokenDecimals: 6, minExactPrice: 1_000n })

const good = `
merchants:
  - name: Weather Inc
    payee: ${payee}
    services:
      - name: weather
        pathPrefix: /weather
        upstream: http://10.0.0.1:8080/v1
        price: 0.01
        exactPrice: 1
        maxCallsPerMinute: 60
      - name: forecast
        pathPrefix: /forecast
        price: "0.000001"
        enabled: false
`

test('merchants and services are read with the fields of the API, and every amount as it is written', () => {
  const parsed = parse(good)
  expect(parsed).toMatchObject({
    ok: true,
    file: {
      merchants: [
        {
          name: 'Weather Inc',
          payee,
          services: [
            {
              name: 'weather',
              pathPrefix: '/weather',
              upstream: 'http://10.0.0.1:8080/v1',
              price: 10_000n,
              exactPrice: 1_000_000n,
              maxCallsPerMinute: 60,
            },
            { name: 'forecast', price: 1n, enabled: false },
          ],
        },
      ],
    },
  })
  expect(parsed.ok && parsed.lineOf(['merchants', 0, 'services', 1, 'pathPrefix'])).toBe(13)
})

test('an amount with more digits than a number holds is exact', () => {
  const [price, atomic] = ['1234567890.123457', 1_234_567_890_123_457n]
  const parsed = parse(good.replace('price: 0.01', `price: ${price}`))
  expect(parsed).toMatchObject({ file: { merchants: [{ services: [{ price: atomic }, {}] }] } })
})

test('prices by use and of routes are read, whether or not they have a fraction', () => {
  const text = `
merchants:
  - name: Models Inc
    payee: ${payee}
    services:
      - name: chat
        pathPrefix: /chat
        price: 1
        pricing:
          kind: token
          input: { price: 2, per: 1000000 }
          output: { price: 0.6, per: 1000000 }
        routes:
          - { method: GET, path: /models, price: 0.001 }
        voucherGraceMs: 5000
`
  expect(parse(text)).toMatchObject({
    file: {
      merchants: [
        {
          services: [
            {
              price: 1_000_000n,
              pricing: { kind: 'token', input: { price: 2_000_000n, per: 1_000_000n }, output: { price: 600_000n } },
              routes: [{ method: 'GET', path: '/models', price: 1_000n, pricing: { kind: 'call' } }],
              voucherGraceMs: 5_000,
            },
          ],
        },
      ],
    },
  })
})

test.each([
  [
    'a field that is wrong',
    good.replace('price: 0.01', 'price: free'),
    /^line 9, merchants\[0\]\.services\[0\]\.price: /,
  ],
  ['too many digits', good.replace('0.01', '0.0000001'), /^line 9, merchants\[0\]\.services\[0\]\.price: /],
  [
    'a field that is missing',
    good.replace('pathPrefix: /forecast', ''),
    /^line 12, merchants\[0\]\.services\[1\]\.pathPrefix: /,
  ],
  [
    'a field that nobody knows',
    good.replace('upstream', 'upsteam'),
    /^line 8, merchants\[0\]\.services\[0\]\.upsteam: there is no such/,
  ],
  [
    'a path that is there twice',
    good.replace('/forecast', '/weather'),
    /^line 13, merchants\[0\]\.services\[1\]\.pathPrefix: \/weather is there already$/,
  ],
  [
    'a name that is there twice',
    good.replace('name: forecast', 'name: weather'),
    /^line 12, .*services\[1\]\.name: weather is/,
  ],
  ['an address that is none', good.replace(payee, '0x1234'), /^line 4, merchants\[0\]\.payee: /],
  [
    'less than `exact` may cost',
    good.replace('exactPrice: 1', 'exactPrice: 0.0001'),
    /^line 10, .*exactPrice: must be at least 0\.001$/,
  ],
  ['a key that is there twice', good.replace('enabled: false', 'price: 1'), /^line 15: .*unique/],
  ['what is no YAML', good.replace('name: weather', 'name: [weather'), /^line \d+: /],
  ['nothing', '', /^line 1, the file: /],
  ['a list', '- a\n- b\n', /^line 1, the file: /],
  ['a tag of somebody', good.replace('Weather Inc', '!exec Weather Inc'), /^line 3: .*tag/],
])('%s is told with its line and field', (_, text, problem) => {
  const parsed = parse(text)
  expect(parsed).toMatchObject({ ok: false, problems: [expect.stringMatching(problem)] })
})

test('everything that is wrong is told at once, and a bounded number of lines', () => {
  const two = parse(good.replace('0.01', 'free').replace('/forecast', 'forecast'))
  expect(!two.ok && two.problems).toHaveLength(2)
  const services = Array.from(
    { length: 50 },
    (_, index) => `      - { name: s${index}, pathPrefix: /s${index}, price: no }`,
  )
  const many = parse(`merchants:\n  - name: a\n    payee: ${payee}\n    services:\n${services.join('\n')}\n`)
  expect(!many.ok && many.problems).toHaveLength(21)
  expect(!many.ok && many.problems.at(-1)).toBe('and 30 more')
})

test('a file of references to references is refused', () => {
  const levels = Array.from({ length: 9 }, (_, level) => `a${level + 1}: &a${level + 1} [${`*a${level},`.repeat(9)}]`)
  const parsed = parse(`a0: &a0 [x]\n${levels.join('\n')}\nmerchants: *a9\n`)
  expect(parsed).toMatchObject({ ok: false, problems: [expect.stringContaining('alias')] })
})
