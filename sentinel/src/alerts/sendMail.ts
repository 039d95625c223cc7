import { createTransport } from 'nodemailer'
import type { Sending } from './judgeSending.ts'
import type { Mail } from './renderMail.ts'

export type MailerOptions = {
  /** `smtp://user:password@host:587`, or `smtps://` for TLS from the first byte. */
  url: string
  /** `Name <address>`, or an address. */
  from: string
  /** Of each step of a session. */
  timeoutMs: number
  /** PEM, of who may sign the server's certificate; by default whom the process trusts. */
  certificates?: readonly string[] | undefined
}

export type OutgoingMail = Mail & {
  to: string
  /** The same at every try, so that a receiver can tell a repetition. */
  id: string
  /** Mails of one thread have the same; undefined: it stands alone. */
  thread: string | undefined
}

export type SendMail = (mail: OutgoingMail) => Promise<Sending>

/**
 * Sends mail over SMTP (RFC 5321), one connection each. With a user in the URL the connection is encrypted before the
 * password is sent (STARTTLS, RFC 3207), or nothing is; without one it is if the server can.
 */
export function createSendMail({ url, from, timeoutMs, certificates }: MailerOptions): SendMail {
  const { protocol, hostname, port, username, password } = new URL(url)
  const isSecure = protocol === 'smtps:'
  const transport = createTransport({
    host: hostname.replaceAll(/^\[|\]$/g, ''),
    port: Number(port || (isSecure ? 465 : 587)),
    secure: isSecure,
    ...(username !== '' && {
      auth: { user: decodeURIComponent(username), pass: decodeURIComponent(password) },
      requireTLS: !isSecure,
    }),
    ...(certificates && { tls: { ca: [...certificates] } }),
    connectionTimeout: timeoutMs,
    greetingTimeout: timeoutMs,
    socketTimeout: timeoutMs,
    dnsTimeout: timeoutMs,
    // What is in a message must never read a file or ask a server.
    disableFileAccess: true,
    disableUrlAccess: true,
  })
  const domain = /@([^\s>]+)>?$/.exec(from)?.[1] ?? 'localhost'
  return async ({ to, id, thread, subject, text, html }) => {
    try {
      await transport.sendMail({
        from,
        // As an object: an address is never read as a list of several.
        to: { name: '', address: to },
        subject,
        text,
        html,
        messageId: `<${id}@${domain}>`,
        ...(thread !== undefined && { references: `<${thread}@${domain}>` }),
        headers: { 'Auto-Submitted': 'auto-generated' },
      })
      return { ok: true }
    } catch (error) {
      return judgeSmtpError(error)
    }
  }
}

/**
 * 5yz to the recipient or to the message is final (RFC 5321, 4.2.1). What the server says to us (a login, a sender) is no
 * fault of the address: it is tried again, and shown.
 */
export function judgeSmtpError(error: unknown): Sending {
  const { responseCode, command, message } = error as { responseCode?: unknown; command?: unknown; message?: unknown }
  const text = typeof message === 'string' ? message : String(error)
  const isFinal = typeof responseCode === 'number' && responseCode >= 500 && responseCode !== 503
  if (isFinal && (command === 'RCPT TO' || command === 'DATA'))
    return { ok: false, again: false, error: text, channel: 'refused' }
  return { ok: false, again: true, error: text }
}
