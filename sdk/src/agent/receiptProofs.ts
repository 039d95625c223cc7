import {
  BaseError,
  parseReceiptKeys,
  type ReceiptKey,
  receiptKeysPath,
  type SettleResponse,
  verifyReceipt,
} from '@protocolbanks/stream-protocol'

/**
 * Whose signatures on receipts are taken. `origin`: of whoever publishes keys under the origin that was paid. `none`: nobody
 * looks. Keys: only of these, and each receipt has to have one.
 */
export type ReceiptKeys = 'origin' | 'none' | readonly ReceiptKey[]

/** `unproven`: nobody says whose signature it is, or it has none and none was promised. */
export type Proof = 'proven' | 'unproven' | 'forged'

export type ReceiptProofsOptions = {
  keys: ReceiptKeys
  fetch: typeof fetch
  /** Unix time in milliseconds. */
  clock(): number
}

/** Origins whose keys are remembered. */
const maxOrigins = 100
/** How long keys are taken as they were answered, and how long it is before they are asked for again. */
const keptMs = 3_600_000
const askAgainMs = 60_000
const timeoutMs = 5_000
const maxKeySetCharacters = 64 * 1024

type KnownKeys = { keys: Promise<readonly ReceiptKey[]>; askedAtMs: number }

/** Verifies the signatures of receipts. Keys are asked for once per origin, and again for a key that is not among them. */
export function createReceiptProofs(
  options: ReceiptProofsOptions,
): (url: URL, receipt: SettleResponse) => Promise<Proof> {
  const { keys: trusted, clock } = options
  const known = new Map<string, KnownKeys>()

  return async (url, receipt) => {
    if (trusted === 'none') return 'unproven'
    if (trusted !== 'origin') return (await verifyReceipt(receipt, trusted)).ok ? 'proven' : 'forged'
    if (receipt.extra?.signature === undefined) return 'unproven'
    let check = await verifyReceipt(receipt, await keysOf(url.origin, keptMs))
    // A key that is new to us, or none at all when the last question failed.
    if (!check.ok && check.reason === 'unknown_key') {
      check = await verifyReceipt(receipt, await keysOf(url.origin, askAgainMs))
    }
    if (check.ok) return 'proven'
    return check.reason === 'unknown_key' ? 'unproven' : 'forged'
  }

  /** As they were answered within this time, else asked for anew. */
  function keysOf(origin: string, withinMs: number): Promise<readonly ReceiptKey[]> {
    const at = known.get(origin)
    if (at && clock() - at.askedAtMs < withinMs) return at.keys
    const keys = askKeys(origin)
    known.delete(origin)
    known.set(origin, { keys, askedAtMs: clock() })
    const [oldest] = known.keys()
    if (known.size > maxOrigins && oldest !== undefined) known.delete(oldest)
    return keys
  }

  /** None when they cannot be had: a receipt is then unproven, not wrong. */
  async function askKeys(origin: string): Promise<readonly ReceiptKey[]> {
    try {
      const signal = AbortSignal.timeout(timeoutMs)
      const response = await options.fetch(origin + receiptKeysPath, { redirect: 'error', signal })
      if (!response.ok) {
        await response.body?.cancel()
        return []
      }
      const text = await response.text()
      return text.length > maxKeySetCharacters ? [] : parseReceiptKeys(JSON.parse(text))
    } catch {
      return []
    }
  }
}

/** A receipt whose signature is not of the keys that it has to be of. Nothing more is signed for this payee in this process. */
export class ReceiptForgedError extends BaseError {
  override readonly code = 'receipt.forged'
  constructor(p: { url: string; payee: string; receipt: SettleResponse | undefined }) {
    super('The receipt is not signed by the gateway whose it says it is.', {
      metaMessages: [
        `URL: ${p.url}`,
        `Payee: ${p.payee}`,
        ...(p.receipt
          ? [`Receipt: ${JSON.stringify(p.receipt).slice(0, 2_000)}`]
          : ['An earlier call found this out; no further voucher is signed for the payee.']),
        'The call was charged, and its answer is not given. Ask the merchant, or set receiptKeys to the keys that sign.',
      ],
      docsPath: '/errors#receipt-forged',
    })
  }
}
