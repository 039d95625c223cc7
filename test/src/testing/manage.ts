import type { Service } from '@protocolbanks/stream-dev'

export type ManagementAnswer<body> = { status: number; contentType: string | null; body: body }

/** One call of the gateway's management API; any status is an answer. */
export async function manage<body = { code?: string }>(
  { gateway }: { gateway: Pick<Service, 'url'> },
  apiKey: string,
  request: `${'GET' | 'POST' | 'PUT' | 'DELETE'} /${string}`,
  json?: unknown,
): Promise<ManagementAnswer<body>> {
  const [method = '', path = ''] = request.split(' ')
  const response = await fetch(`${gateway.url}/api${path}`, {
    method,
    headers: { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' },
    ...(json === undefined ? {} : { body: JSON.stringify(json) }),
    signal: AbortSignal.timeout(60_000),
  })
  const body = (await response.json()) as body
  return { status: response.status, contentType: response.headers.get('content-type'), body }
}
