import type { ReceiptKey } from '@protocolbanks/stream-protocol'
import type { Handler } from 'hono'
import type { ReceiptSigner } from './createReceiptSigner.ts'

/** How long whoever verifies may keep the keys: a new key is to be published for longer than this before it signs. */
const maxAgeSeconds = 300

/**
 * `GET /.well-known/jwks.json`: the keys whose signatures on receipts are this gateway's, as a JSON Web Key Set
 * (RFC 7517), for anybody from any origin.
 *
 * @param others beside the signer's own, see RECEIPT_PUBLIC_KEYS
 */
export function createReceiptKeysRoute(
  signer: Pick<ReceiptSigner, 'key'> | undefined,
  others: readonly ReceiptKey[],
): Handler {
  const own = signer ? [signer.key] : []
  const keys = [...own, ...others.filter(({ kid }) => kid !== signer?.key.kid)]
  return (c) =>
    c.json({ keys }, 200, {
      'cache-control': `public, max-age=${maxAgeSeconds}`,
      'access-control-allow-origin': '*',
    })
}
