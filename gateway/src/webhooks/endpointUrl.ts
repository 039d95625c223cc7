import type { LookupFunction } from 'node:net'
import { checkPublicHost, hostOf, mayBePublic } from '../network/checkPublicHost.ts'

export const maxUrlLength = 2_000

export type UrlPolicy = {
  /** For local development: private networks, and http, are allowed. */
  allowPrivateNetworks: boolean
}

export type EndpointUrl = { ok: true; url: URL } | { ok: false; reason: string }

/**
 * Reads the URL of an endpoint. Hosts are as the URL standard reads them, so that `0x7f.1` and `2130706433` are the
 * addresses that a connection would go to. A name passes: where it points is seen when it is looked up.
 */
export function parseEndpointUrl(text: string, { allowPrivateNetworks }: UrlPolicy): EndpointUrl {
  if (text.length > maxUrlLength) return refused(`It is longer than ${maxUrlLength} characters.`)
  if (!URL.canParse(text)) return refused('It is not an absolute URL.')
  const url = new URL(text)
  if (url.protocol !== 'https:' && !(allowPrivateNetworks && url.protocol === 'http:')) {
    return refused('It does not begin with https://.')
  }
  if (url.username !== '' || url.password !== '') return refused('It has a user or a password in it.')
  if (url.hash !== '') return refused('It has a fragment (#).')
  if (!allowPrivateNetworks && !mayBePublic(hostOf(url))) return refused('Its host is not a public address.')
  return { ok: true, url }
}

/** The same, and everything that its host resolves to at this moment has to be public. */
export async function checkEndpointUrl(
  text: string,
  { lookup, ...policy }: UrlPolicy & { lookup: LookupFunction },
): Promise<EndpointUrl> {
  const parsed = parseEndpointUrl(text, policy)
  if (!parsed.ok || policy.allowPrivateNetworks) return parsed
  const reason = await checkPublicHost(hostOf(parsed.url), lookup)
  return reason === undefined ? parsed : refused(reason)
}

function refused(reason: string): EndpointUrl {
  return { ok: false, reason }
}
