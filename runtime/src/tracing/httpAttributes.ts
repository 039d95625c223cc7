import type { Attributes } from '@opentelemetry/api'

/** Of a server's span, by OpenTelemetry's semantic conventions for HTTP. `status` once it is known. */
export function httpAttributes({
  method,
  path,
  status,
}: {
  method: string
  path: string
  status?: number
}): Attributes {
  return {
    'http.request.method': method,
    'url.path': path,
    ...(status !== undefined && { 'http.response.status_code': status }),
  }
}
