import type { AlertText } from './alertText.ts'

export type Mail = { subject: string; text: string; html: string }

const maxSubjectLength = 150

/** The same in plain text and in HTML that needs nothing from anywhere. */
export function renderMail({ subject, paragraphs, facts, links, footer }: AlertText): Mail {
  const text = [
    ...paragraphs,
    facts.map(([name, value]) => `${name}: ${value}`).join('\n'),
    ...links.map(({ label, url }) => `${label}:\n${url}`),
    `-- \n${footer}`,
  ]
  const html = [
    ...paragraphs.map((paragraph) => `<p>${escapeHtml(paragraph)}</p>`),
    facts.length === 0 ? '' : `<table cellpadding="4">${facts.map(toRow).join('')}</table>`,
    ...links.map(({ label, url }) => `<p><a href="${escapeHtml(url)}">${escapeHtml(label)}</a></p>`),
    `<p><small>${escapeHtml(footer)}</small></p>`,
  ]
  return {
    subject: oneLine(subject).slice(0, maxSubjectLength),
    text: `${text.filter((part) => part !== '').join('\n\n')}\n`,
    html: `<!doctype html>\n<html lang="en"><body>\n${html.filter((part) => part !== '').join('\n')}\n</body></html>\n`,
  }
}

function toRow([name, value]: readonly [string, string]): string {
  return `<tr><td>${escapeHtml(name)}</td><td>${escapeHtml(value)}</td></tr>`
}

const entities: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' }

function escapeHtml(text: string): string {
  return text.replaceAll(/[&<>"']/g, (character) => entities[character] ?? '')
}

/** A subject is one header line, whatever is in it. */
function oneLine(text: string): string {
  return text.replaceAll(/[\p{Cc}\s]+/gu, ' ').trim()
}
