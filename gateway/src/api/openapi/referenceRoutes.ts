import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { Hono } from 'hono'
import { z } from 'zod'
import { describe } from './operation.ts'

/** What the page is made of, as the package has it: nothing is loaded from anywhere else. */
const assets = {
  'swagger-ui-bundle.js': 'text/javascript; charset=utf-8',
  'swagger-ui.css': 'text/css; charset=utf-8',
} as const satisfies Record<string, string>

const { resolve } = createRequire(import.meta.url)

const page = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Management API</title>
<link rel="stylesheet" href="reference/swagger-ui.css">
</head>
<body>
<div id="reference"></div>
<script src="reference/swagger-ui-bundle.js"></script>
<script src="reference/start.js"></script>
</body>
</html>
`

/** No validator elsewhere is asked, and keys that are typed in are not kept. */
const start = `SwaggerUIBundle({
  url: 'openapi.json',
  dom_id: '#reference',
  deepLinking: true,
  docExpansion: 'list',
  filter: true,
  validatorUrl: null,
  persistAuthorization: false,
})
`

const pageHeaders = {
  'content-type': 'text/html; charset=utf-8',
  'cache-control': 'public, max-age=60',
  'content-security-policy': [
    "default-src 'none'",
    "script-src 'self'",
    // The page's library writes styles into its elements.
    "style-src 'self' 'unsafe-inline'",
    "img-src 'self' data:",
    "connect-src 'self'",
    "frame-ancestors 'none'",
    "base-uri 'none'",
    "form-action 'none'",
  ].join('; '),
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
}

/**
 * `/openapi.json`, which is the document of the API, and `/reference`, which shows it. Both are for everybody: they say
 * nothing about any deployment.
 *
 * @param document made when it is first asked for
 */
export function createReferenceRoutes(document: () => object): Hono {
  const routes = new Hono()
  let text: string | undefined
  routes.get('/openapi.json', (c) => {
    text ??= JSON.stringify(document())
    return c.body(text, 200, {
      'content-type': 'application/json',
      'cache-control': 'public, max-age=60',
      'access-control-allow-origin': '*',
    })
  })
  routes.get('/reference', (c) => c.body(page, 200, pageHeaders))
  routes.get('/reference/start.js', (c) => c.body(start, 200, assetHeaders('text/javascript; charset=utf-8')))
  for (const [name, type] of Object.entries(assets)) {
    routes.get(`/reference/${name}`, async (c) => {
      const file = await readFile(resolve(`swagger-ui-dist/${name}`))
      return c.body(new Uint8Array(file), 200, assetHeaders(type))
    })
  }
  describe(routes, {
    'GET /openapi.json': {
      id: 'getOpenApi',
      summary: 'This document.',
      answers: { 200: z.looseObject({ openapi: z.string() }) },
    },
    'GET /reference': { id: 'getReference', summary: 'This document as a page.', answers: { 200: 'text/html' } },
    'GET /reference/start.js': {
      id: 'getReferenceStart',
      summary: 'A part of the page.',
      answers: { 200: 'text/javascript' },
    },
    'GET /reference/swagger-ui-bundle.js': {
      id: 'getReferenceScript',
      summary: 'A part of the page.',
      answers: { 200: 'text/javascript' },
    },
    'GET /reference/swagger-ui.css': {
      id: 'getReferenceStyle',
      summary: 'A part of the page.',
      answers: { 200: 'text/css' },
    },
  })
  return routes
}

function assetHeaders(type: string): Record<string, string> {
  return { 'content-type': type, 'cache-control': 'public, max-age=3600', 'x-content-type-options': 'nosniff' }
}
