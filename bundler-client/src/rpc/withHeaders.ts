import type { HttpTransportConfig } from 'viem'

/** Of viem's http transport: more headers for each request, asked when it is made. */
export function withHeaders(
  headers: (() => Record<string, string>) | undefined,
): Pick<HttpTransportConfig, 'onFetchRequest'> {
  if (!headers) return {}
  return {
    onFetchRequest(_request, init) {
      return { ...init, headers: { ...Object.fromEntries(new Headers(init.headers)), ...headers() } }
    },
  }
}
