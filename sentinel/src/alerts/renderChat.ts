import type { AlertText } from './alertText.ts'

export type ChatMessage = { text: string; buttons: readonly { text: string; url: string }[] }

/** Of Telegram's 4,096 characters, with room for how it counts them. */
const maxLength = 3_900

/** Plain text, so that nothing in it is taken for markup; links become buttons below it. */
export function renderChat({ subject, paragraphs, facts, links, footer }: AlertText): ChatMessage {
  const parts = [subject, ...paragraphs, facts.map(([name, value]) => `${name}: ${value}`).join('\n'), footer]
  const text = parts.filter((part) => part !== '').join('\n\n')
  return {
    text: text.length <= maxLength ? text : `${text.slice(0, maxLength - 1)}…`,
    buttons: links.map(({ label, url }) => ({ text: label, url })),
  }
}
