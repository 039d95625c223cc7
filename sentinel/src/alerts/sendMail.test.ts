import { afterEach, expect, test } from 'vitest'
import { createSendMail, judgeSmtpError } from './sendMail.ts'
import { type MailServer, startMailServer } from './testing/startMailServer.ts'

const servers: MailServer[] = []
afterEach(async () => {
  for (const server of servers.splice(0)) await server.stop()
})

async function start(options: Parameters<typeof startMailServer>[0] = {}): Promise<MailServer> {
  const server = await startMailServer(options)
  servers.push(server)
  return server
}

const credentials = { user: 'alerts', password: 'a p@ss:w/rd' }
const loginOf = ({ user, password }: typeof credentials) => `${user}:${encodeURIComponent(password)}@`
const mail = {
  to: 'reader@example.com',
  subject: 'An agent was stopped — 0x12…34',
  text: 'Grüße\n.\nA line that begins with a dot.\n',
  html: '<p>Grüße</p>',
  id: 'adl_1',
  thread: 'inc_1',
}

/** Trusts the server's certificate, as NODE_EXTRA_CA_CERTS does for a process. */
const senderTo = ({ port, certificate }: MailServer, { login = '', timeoutMs = 10_000, trusts = true } = {}) =>
  createSendMail({
    url: `smtp://${login}127.0.0.1:${port}`,
    from: 'Stream <alerts@stream.example.com>',
    timeoutMs,
    certificates: trusts ? [certificate] : undefined,
  })

test('a mail arrives as it was written, over an encrypted session with a password, in the thread of its incident', async () => {
  const server = await start({ credentials })
  expect(await senderTo(server, { login: loginOf(credentials) })(mail)).toEqual({ ok: true })
  const [received] = server.received
  expect(received).toMatchObject({
    isSecure: true,
    user: 'alerts',
    recipients: ['reader@example.com'],
    from: { name: 'Stream', address: 'alerts@stream.example.com' },
    to: [{ address: 'reader@example.com' }],
    subject: mail.subject,
    messageId: '<adl_1@stream.example.com>',
    references: '<inc_1@stream.example.com>',
  })
  expect(received?.text?.trimEnd()).toBe(mail.text.trimEnd())
  expect(received?.html).toContain('<p>Grüße</p>')
  expect(received?.headers).toContainEqual(expect.objectContaining({ key: 'auto-submitted', value: 'auto-generated' }))
})

test('a password goes over no session that is not encrypted, or whose certificate nobody knows', async () => {
  const plain = await start({ credentials, withoutTls: true })
  const login = loginOf(credentials)
  expect(await senderTo(plain, { login })(mail)).toMatchObject({ ok: false, again: true })
  const unknown = await start({ credentials })
  expect(await senderTo(unknown, { login, trusts: false })(mail)).toMatchObject({ ok: false, again: true })
  expect([...plain.received, ...unknown.received]).toEqual([])
})

test('a server that asks for nothing is sent to as it is', async () => {
  const server = await start({ withoutTls: true })
  expect(await senderTo(server)(mail)).toEqual({ ok: true })
  expect(server.received).toMatchObject([{ isSecure: false }])
})

test('who is refused for now is asked again; who is refused for good is not, nor by anybody else', async () => {
  const server = await start()
  const send = senderTo(server)
  server.refuse = () => ({ code: 451, text: '4.3.0 Try again later' })
  const later = await send(mail)
  expect(later).toMatchObject({ ok: false, again: true, error: expect.stringContaining('4.3.0 Try again later') })
  server.refuse = () => ({ code: 550, text: '5.1.1 No such user here' })
  expect(await send(mail)).toMatchObject({
    ok: false,
    again: false,
    channel: 'refused',
    error: expect.stringContaining('5.1.1 No such user here'),
  })
})

test('what is wrong with us (a password, a server that is gone) is no fault of the address', async () => {
  const server = await start({ credentials })
  const wrong = await senderTo(server, { login: 'alerts:wrong@' })(mail)
  expect(wrong).toMatchObject({ ok: false, again: true, error: expect.stringContaining('535') })
  expect(JSON.stringify(wrong)).not.toContain('wrong@')
  await server.pause()
  expect(await senderTo(server)(mail)).toMatchObject({ ok: false, again: true })
  expect(judgeSmtpError(Object.assign(new Error('553 Not you'), { responseCode: 553, command: 'MAIL FROM' }))).toEqual({
    ok: false,
    again: true,
    error: '553 Not you',
  })
})

test('an address is one recipient, whatever is in it, and adds no header', async () => {
  const server = await start()
  const send = senderTo(server)
  await send({ ...mail, to: 'a@example.com, b@example.com' })
  await send({ ...mail, to: 'a@example.com\r\nBcc: c@example.com' })
  await send({ ...mail, subject: 'Hello\r\nBcc: c@example.com' })
  for (const { recipients, bcc } of server.received) {
    expect(recipients).toHaveLength(1)
    expect(recipients[0]).not.toMatch(/^[bc]@example\.com$/)
    expect(bcc ?? []).toEqual([])
  }
})
