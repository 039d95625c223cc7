import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import PostalMime, { type Email } from 'postal-mime'
import { SMTPServer, type SMTPServerOptions } from 'smtp-server'

export type ReceivedMail = Email & {
  /** Of the envelope. */
  recipients: string[]
  /** Whether the session was encrypted, and who was signed in. */
  isSecure: boolean
  user: string | undefined
}

export type MailServer = {
  port: number
  /** PEM of who signed its certificate, which is for 127.0.0.1 and localhost; and where that is. */
  certificate: string
  certificateFile: string
  received: ReceivedMail[]
  /** An SMTP answer for a recipient, instead of taking mail; undefined: it is taken. */
  refuse: (recipient: string) => { code: number; text: string } | undefined
  /** It is gone for a while, and comes back at the same port. */
  pause(): Promise<void>
  resume(): Promise<void>
  stop(): Promise<void>
}

export type MailServerOptions = {
  /** Without STARTTLS. */
  withoutTls?: true | undefined
  /** Who may send; by default everybody may, unasked. */
  credentials?: { user: string; password: string } | undefined
}

/** An SMTP server as others run them, with STARTTLS and AUTH, that keeps what it is sent. */
export async function startMailServer(options: MailServerOptions = {}): Promise<MailServer> {
  const { credentials, withoutTls } = options
  const folder = await mkdtemp(join(tmpdir(), 'mail-'))
  const tls = await makeCertificate(folder)
  const received: ReceivedMail[] = []
  const running: Pick<MailServer, 'refuse'> = { refuse: () => undefined }
  const handlers: SMTPServerOptions = {
    onAuth(auth, _session, done) {
      const isKnown = auth.username === credentials?.user && auth.password === credentials?.password
      if (isKnown) done(null, { user: auth.username ?? '' })
      else done(answer(535, 'Authentication failed'))
    },
    onRcptTo({ address }, _session, done) {
      const refusal = running.refuse(address)
      done(refusal ? answer(refusal.code, refusal.text) : null)
    },
    onData(stream, session, done) {
      const chunks: Uint8Array[] = []
      stream.on('data', (chunk: Uint8Array) => chunks.push(chunk))
      stream.on('end', async () => {
        received.push({
          ...(await PostalMime.parse(Buffer.concat(chunks))),
          recipients: session.envelope.rcptTo.map(({ address }) => address),
          isSecure: session.secure,
          user: session.user?.toString(),
        })
        done()
      })
    },
  }
  let server: SMTPServer | undefined
  async function listen(port: number): Promise<number> {
    const started = new SMTPServer({
      ...tls,
      ...handlers,
      logger: false,
      disableReverseLookup: true,
      authOptional: credentials === undefined,
      disabledCommands: [...(withoutTls ? ['STARTTLS'] : []), ...(credentials ? [] : ['AUTH'])],
      closeTimeout: 100,
    })
    started.on('error', () => {})
    const listening = started.listen(port, '127.0.0.1')
    await new Promise((resolve, reject) => {
      listening.once('listening', resolve)
      listening.once('error', reject)
    })
    server = started
    const address = listening.address()
    if (typeof address !== 'object' || address === null) throw new Error('The mail server has no port.')
    return address.port
  }
  const pause = async () => {
    await new Promise<void>((resolve) => (server ? server.close(resolve) : resolve()))
    server = undefined
  }

  const port = await listen(0)
  return Object.assign(running, {
    port,
    certificate: tls.cert,
    certificateFile: join(folder, 'cert.pem'),
    received,
    pause,
    async resume() {
      await listen(port)
    },
    async stop() {
      await pause()
      await rm(folder, { recursive: true, force: true })
    },
  })
}

function answer(responseCode: number, text: string): Error {
  return Object.assign(new Error(text), { responseCode })
}

/** Signed by itself, good for a day. */
async function makeCertificate(folder: string): Promise<{ key: string; cert: string }> {
  const key = join(folder, 'key.pem')
  const cert = join(folder, 'cert.pem')
  const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=IP:127.0.0.1,DNS:localhost']
  const of = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '1']
  await promisify(execFile)('openssl', ['req', '-x509', ...of, ...subject, '-keyout', key, '-out', cert])
  return { key: await readFile(key, 'utf8'), cert: await readFile(cert, 'utf8') }
}
