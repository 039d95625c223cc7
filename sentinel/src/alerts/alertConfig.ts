import { z } from 'zod'

/** An empty file of a secret is a secret that nobody has. */
const optional = <T extends z.ZodType>(schema: T) =>
  z.preprocess((value) => (value === '' ? undefined : value), schema.optional())

/** What the environment says of alerts. Everything is optional: what is not configured is not sent, and says so. */
export const alertFields = {
  /** `smtp://user:password@host:587`, or `smtps://`. */
  SMTP_URL: optional(z.url({ protocol: /^smtps?$/, error: 'must be smtp://user:password@host:port, or smtps://' })),
  /** From whom mails are: an address, or `Name <address>`. */
  ALERT_FROM: optional(z.string().max(300).refine(isSender, 'must be an e-mail address, or a name and <address>')),
  /** Of the bot, as @BotFather gives it. */
  TELEGRAM_BOT_TOKEN: optional(
    z.string().regex(/^\d{1,20}:[A-Za-z0-9_-]{10,100}$/, 'must be a token of a bot, as 123456:ABC-DEF'),
  ),
  TELEGRAM_API_URL: z.url({ protocol: /^https?$/ }).default('https://api.telegram.org'),
  /** Where people reach the gateway: links lead there. */
  PUBLIC_URL: optional(z.url({ protocol: /^https?$/ })),
  /** Signs links, at least 32 characters; the same for every sentinel. */
  ALERT_LINK_SECRET: optional(z.string().min(32).max(1_000)),
  /** Between two reminders of an incident that nobody acknowledged. */
  ALERT_REPEAT_SECONDS: z.coerce
    .number()
    .int()
    .min(1)
    .max(30 * 86_400)
    .default(3_600),
  /** Reminders of one incident at one channel. */
  ALERT_MAX_REPEATS: z.coerce.number().int().min(0).max(1_000).default(24),
}

/** Not for any log. */
export const alertSecrets = ['SMTP_URL', 'TELEGRAM_BOT_TOKEN', 'ALERT_LINK_SECRET'] as const

type AlertEnv = Partial<
  Record<'SMTP_URL' | 'ALERT_FROM' | 'TELEGRAM_BOT_TOKEN' | 'PUBLIC_URL' | 'ALERT_LINK_SECRET', string | undefined>
>

/** What goes together: nothing is sent without links, no mail without a sender. */
export function checkAlertFields(env: AlertEnv, context: z.core.$RefinementCtx): void {
  const need = (name: keyof AlertEnv, why: string) => {
    if (env[name] === undefined) context.addIssue({ code: 'custom', path: [name], message: why, input: env })
  }
  if (env.SMTP_URL !== undefined) need('ALERT_FROM', 'SMTP_URL goes with ALERT_FROM, from whom mails are')
  if (env.SMTP_URL === undefined && env.TELEGRAM_BOT_TOKEN === undefined) return
  need('PUBLIC_URL', 'alerts have links, which lead to PUBLIC_URL')
  need('ALERT_LINK_SECRET', 'alerts have links, which ALERT_LINK_SECRET signs')
}

type ParsedAlertEnv = AlertEnv & { TELEGRAM_API_URL: string; ALERT_REPEAT_SECONDS: number; ALERT_MAX_REPEATS: number }

/** The same as `createAlerts` takes it. */
export function alertOptionsOf(env: ParsedAlertEnv) {
  const { SMTP_URL, ALERT_FROM, TELEGRAM_BOT_TOKEN, TELEGRAM_API_URL, PUBLIC_URL, ALERT_LINK_SECRET } = env
  return {
    links: PUBLIC_URL && ALERT_LINK_SECRET ? { publicUrl: PUBLIC_URL, secret: ALERT_LINK_SECRET } : undefined,
    mail: SMTP_URL && ALERT_FROM ? { url: SMTP_URL, from: ALERT_FROM } : undefined,
    telegram: TELEGRAM_BOT_TOKEN ? { url: TELEGRAM_API_URL, token: TELEGRAM_BOT_TOKEN } : undefined,
    repeatEveryMs: env.ALERT_REPEAT_SECONDS * 1_000,
    maxRepeats: env.ALERT_MAX_REPEATS,
  }
}

function isSender(text: string): boolean {
  const [, name = '', address = text] = /^([^<>]*)<([^<>]+)>$/.exec(text) ?? []
  return !/[\p{Cc}"\\,;:@]/u.test(name) && z.email().safeParse(address).success
}
