import { createHmac } from 'node:crypto'
import { Webhook } from 'standardwebhooks'
import { expect, test } from 'vitest'
import { createWebhookSecret, signWebhook } from './signWebhook.ts'

const at = new Date()
const of = { id: 'whev_1', at, body: '{"type":"test"}' }

test('a receiver that knows any one of the secrets verifies it, another does not', () => {
  const [before, after] = [createWebhookSecret(), createWebhookSecret()]
  const headers = signWebhook({ ...of, secrets: [after, before] })
  for (const secret of [before, after]) expect(new Webhook(secret).verify(of.body, headers)).toEqual({ type: 'test' })
  expect(() => new Webhook(createWebhookSecret()).verify(of.body, headers)).toThrow('No matching signature')
  expect(() => new Webhook(after).verify(`${of.body} `, headers)).toThrow('No matching signature')
  expect(() => new Webhook(after).verify(of.body, { ...headers, 'webhook-id': 'whev_2' })).toThrow()
})

test('the signature is the HMAC-SHA256 of id, second and body, as the specification has it', () => {
  const secret = createWebhookSecret()
  expect(secret).toMatch(/^whsec_[A-Za-z0-9+/]{43}=$/)
  const key = Buffer.from(secret.slice('whsec_'.length), 'base64')
  const seconds = Math.floor(at.getTime() / 1_000)
  const mac = createHmac('sha256', key).update(`whev_1.${seconds}.${of.body}`).digest('base64')
  expect(signWebhook({ ...of, secrets: [secret] })).toEqual({
    'webhook-id': 'whev_1',
    'webhook-timestamp': `${seconds}`,
    'webhook-signature': `v1,${mac}`,
  })
})
