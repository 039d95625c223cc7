/** Whom a message is for. */
export type AlertAudience = 'owner' | 'merchant' | 'operator'

/** What one message says, before it becomes a mail or a message of a chat. Plain text throughout. */
export type AlertText = {
  /** One line. */
  subject: string
  /** Sentences, one paragraph each. */
  paragraphs: readonly string[]
  /** Name and value, in the order in which they are read. */
  facts: readonly (readonly [name: string, value: string])[]
  /** What the reader can do. */
  links: readonly { label: string; url: string }[]
  /** Why the reader gets it. */
  footer: string
}
