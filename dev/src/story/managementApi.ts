/** Calls of the gateway's management API with one key. */
export type ManagementApi = {
  /** @throws when the answer is not 2xx, with the problem's text */
  get<answer>(path: string): Promise<answer>
  post<answer>(path: string, body: unknown): Promise<answer>
}

/** @example const api = managementApi(gatewayUrl, apiKey); await api.post('/services', { ... }) */
export function managementApi(gatewayUrl: string, apiKey: string): ManagementApi {
  async function call<answer>(method: string, path: string, body?: unknown): Promise<answer> {
    const response = await fetch(`${gatewayUrl}/api${path}`, {
      method,
      headers: { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' },
      ...(body !== undefined && { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(10_000),
    })
    const text = await response.text()
    if (!response.ok) throw new Error(`${method} /api${path} was answered ${response.status}: ${text}`)
    return JSON.parse(text) as answer
  }
  return {
    get: (path) => call('GET', path),
    post: (path, body) => call('POST', path, body),
  }
}
