import type { Address } from '@protocolbanks/stream-protocol'
import { createSiweMessage, parseSiweMessage } from 'viem/siwe'

/** What the owner agrees to, word for word. */
export const signInStatement =
  'Sign in to Protocol Banks Stream as the owner of this account. This moves no money and grants no budget.'

export type SignInMessage =
  | { ok: true; account: Address; nonce: string; expirationTime: Date | undefined }
  | { ok: false; reason: string }

export type SignInPolicy = {
  chainId: number
  /** Origins of the pages that owners sign in at, as `https://console.example.com`. */
  origins: readonly string[]
  /** A message that was issued longer ago is too old. */
  maxAgeMs: number
  now: Date
}

export const maxMessageLength = 2_000
/** What the clock of who signs may be ahead. */
const skewMs = 60_000

/**
 * Reads a message of EIP-4361. It has to be exactly the text that its fields make, so that what the wallet showed is
 * what is checked here, and no other reading of it exists. Its nonce and its signature are not looked at.
 */
export function readSignInMessage(text: string, { chainId, origins, maxAgeMs, now }: SignInPolicy): SignInMessage {
  if (text.length > maxMessageLength) return refused(`It is longer than ${maxMessageLength} characters.`)
  const { address, domain, scheme, statement, uri, version, nonce, ...fields } = parseSiweMessage(text)
  const { issuedAt, expirationTime, notBefore } = fields
  if (!address || !domain || !uri || !nonce || !issuedAt) return refused('It is not a message of EIP-4361.')
  const origin = origins.find((one) => new URL(one).host === domain)
  if (!origin) return refused(`Its domain is ${domain.slice(0, 100)}; here it is ${hostsOf(origins)}.`)
  if (scheme !== undefined && `${scheme}:` !== new URL(origin).protocol) {
    return refused(`Its scheme is ${scheme}; at this domain it is ${new URL(origin).protocol.slice(0, -1)}.`)
  }
  if (!URL.canParse(uri) || new URL(uri).origin !== new URL(origin).origin) {
    return refused(`Its URI is ${uri.slice(0, 100)}, which is not at ${origin}.`)
  }
  if (fields.chainId !== chainId) return refused(`Its chain is ${fields.chainId}; here it is ${chainId}.`)
  if (version !== '1') return refused('Its version is not 1.')
  if (statement !== signInStatement) return refused(`Its statement is not: ${signInStatement}`)
  const age = now.getTime() - issuedAt.getTime()
  if (!(age <= maxAgeMs)) return refused(`It was issued more than ${maxAgeMs / 1_000} s ago, or its time is none.`)
  if (age < -skewMs) return refused('It is issued in the future.')
  if (expirationTime && !(expirationTime > now)) return refused('It has expired.')
  if (notBefore && !(notBefore <= now)) return refused('It is not valid yet.')
  if (text !== rebuild()) {
    return refused('It is not written as EIP-4361 has it: a checksummed address, times of Date.toISOString().')
  }
  return { ok: true, account: address, nonce, expirationTime }

  function rebuild(): string | undefined {
    try {
      return createSiweMessage({
        address: address as Address,
        chainId,
        domain: domain as string,
        nonce: nonce as string,
        uri: uri as string,
        version: '1',
        statement: signInStatement,
        issuedAt: issuedAt as Date,
        ...(scheme !== undefined && { scheme }),
        ...(expirationTime && { expirationTime }),
        ...(notBefore && { notBefore }),
      })
    } catch {
      // viem's own rules for a field.
      return undefined
    }
  }
}

function hostsOf(origins: readonly string[]): string {
  return origins.map((origin) => new URL(origin).host).join(' or ')
}

function refused(reason: string): SignInMessage {
  return { ok: false, reason }
}
