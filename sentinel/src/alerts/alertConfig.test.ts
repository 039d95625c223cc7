import { expect, test } from 'vitest'
import { z } from 'zod'
import { alertFields, alertOptionsOf, checkAlertFields } from './alertConfig.ts'

const schema = z.object(alertFields).superRefine(checkAlertFields)
const links = { PUBLIC_URL: 'https://pay.example.com', ALERT_LINK_SECRET: 'x'.repeat(32) }
const mail = { SMTP_URL: 'smtp://user:pass@mail.example.com:587', ALERT_FROM: 'Stream <alerts@example.com>' }
const telegram = { TELEGRAM_BOT_TOKEN: '123456:ABC-DEF1234ghIkl' }

const problemsOf = (env: Record<string, string>) =>
  schema.safeParse(env).error?.issues.map(({ path }) => path.join('.')) ?? []

test('nothing has to be set, and what is set empty is not', () => {
  const nothing = { links: undefined, mail: undefined, telegram: undefined, repeatEveryMs: 3_600_000, maxRepeats: 24 }
  expect(alertOptionsOf(schema.parse({}))).toEqual(nothing)
  const empty = { SMTP_URL: '', ALERT_FROM: '', TELEGRAM_BOT_TOKEN: '', PUBLIC_URL: '', ALERT_LINK_SECRET: '' }
  expect(alertOptionsOf(schema.parse(empty))).toEqual(nothing)
})

test('each way of sending is what its own values say', () => {
  const options = alertOptionsOf(schema.parse({ ...links, ...mail, ...telegram, ALERT_REPEAT_SECONDS: '60' }))
  expect(options).toEqual({
    links: { publicUrl: links.PUBLIC_URL, secret: links.ALERT_LINK_SECRET },
    mail: { url: mail.SMTP_URL, from: mail.ALERT_FROM },
    telegram: { url: 'https://api.telegram.org', token: telegram.TELEGRAM_BOT_TOKEN },
    repeatEveryMs: 60_000,
    maxRepeats: 24,
  })
  expect(alertOptionsOf(schema.parse({ ...links, ...mail }))).toMatchObject({ telegram: undefined })
})

test('what goes together and is missing is named', () => {
  expect(problemsOf({ ...links, SMTP_URL: mail.SMTP_URL })).toEqual(['ALERT_FROM'])
  expect(problemsOf({ ...mail, ...telegram })).toEqual(['PUBLIC_URL', 'ALERT_LINK_SECRET'])
  expect(problemsOf(links)).toEqual([])
})

test.each([
  ['SMTP_URL', 'https://mail.example.com'],
  ['ALERT_FROM', 'nobody'],
  ['ALERT_FROM', 'A, B <alerts@example.com>'],
  ['ALERT_FROM', 'A\nBcc: b@example.com <alerts@example.com>'],
  ['TELEGRAM_BOT_TOKEN', 'abc'],
  ['TELEGRAM_API_URL', 'ftp://api.example.com'],
  ['PUBLIC_URL', 'pay.example.com'],
  ['ALERT_LINK_SECRET', 'short'],
  ['ALERT_REPEAT_SECONDS', '0'],
])('%s is not %j', (name, value) => {
  expect(problemsOf({ ...links, ...mail, ...telegram, [name]: value })).toEqual([name])
})
