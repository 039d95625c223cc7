import { createHash } from 'node:crypto'
import { html, raw } from 'hono/html'

export type AlertPage = {
  title: string
  paragraphs: readonly string[]
  facts?: readonly (readonly [name: string, value: string])[] | undefined
  /** What the button says. Without it there is nothing to do. */
  button?: string | undefined
}

const style = `body{font:1rem/1.5 system-ui,sans-serif;max-width:40rem;margin:2rem auto;padding:0 1rem}
dt{font-weight:600}dd{margin:0 0 .5rem;overflow-wrap:anywhere}button{font:inherit;padding:.6rem 1.2rem}`

/** Nothing runs on the page, nothing is loaded, and it is shown in no other page. */
export const pageHeaders = {
  'cache-control': 'no-store',
  'content-security-policy': [
    "default-src 'none'",
    `style-src 'sha256-${createHash('sha256').update(style).digest('base64')}'`,
    "form-action 'self'",
    "frame-ancestors 'none'",
    "base-uri 'none'",
  ].join('; '),
  // The address has the token in it.
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  'x-robots-tag': 'noindex',
}

/** A page that works without scripts. The form goes where the page came from. */
export function alertLinkPage({ title, paragraphs, facts = [], button }: AlertPage) {
  return html`<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>${title}</title><style>${raw(style)}</style></head>
<body>
<h1>${title}</h1>
${paragraphs.map((paragraph) => html`<p>${paragraph}</p>`)}
<dl>${facts.map(([name, value]) => html`<dt>${name}</dt><dd>${value}</dd>`)}</dl>
${button === undefined ? '' : html`<form method="post"><button>${button}</button></form>`}
</body>
</html>
`
}
