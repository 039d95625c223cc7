import { needVoucherEvent, streamErrorEvent, streamReceiptEvent } from '@protocolbanks/stream-protocol'

/** What a metered stream says about its payment, as it came. */
export type PaymentEvent = {
  type: typeof needVoucherEvent | typeof streamReceiptEvent | typeof streamErrorEvent
  data: string
}

export type PaymentEvents = {
  /** The payment events that end in this chunk, in order. */
  push(chunk: Uint8Array): PaymentEvent[]
  /** Events of the service itself that have ended so far. */
  readonly served: number
}

/** Longest line that is looked at, and data of one payment event, in characters; longer ones are the service's own. */
const maxLineBytes = 16_384

const lineFeed = 0x0a
const carriageReturn = 0x0d

/**
 * Finds the payment events among server-sent events (HTML standard, 9.2.6) while their bytes pass, however they are cut, in
 * constant memory.
 */
export function createPaymentEvents(): PaymentEvents {
  const decoder = new TextDecoder()
  const line = new Uint8Array(maxLineBytes)
  let length = 0
  let isTooLong = false
  let afterReturn = false
  let served = 0
  let type = ''
  let data: string[] = []
  let dataLength = 0
  let hasData = false

  function endLine(found: PaymentEvent[]): void {
    const text = isTooLong ? undefined : decoder.decode(line.subarray(0, length))
    const isEmpty = length === 0
    length = 0
    isTooLong = false
    if (isEmpty) {
      endEvent(found)
      return
    }
    // Of a line that is too long only this is of interest: no payment event has one.
    if (text === undefined) {
      hasData = true
      dataLength = maxLineBytes + 1
      return
    }
    const colon = text.indexOf(':')
    if (colon === 0) return
    const field = colon < 0 ? text : text.slice(0, colon)
    const value = colon < 0 ? '' : text.slice(colon + 1).replace(/^ /, '')
    if (field === 'event') type = value
    if (field !== 'data') return
    hasData = true
    dataLength += value.length + 1
    if (dataLength > maxLineBytes) data = []
    else data.push(value)
  }

  function endEvent(found: PaymentEvent[]): void {
    if (isPaymentEvent(type) && dataLength <= maxLineBytes) found.push({ type, data: data.join('\n') })
    else if (hasData) served++
    type = ''
    data = []
    dataLength = 0
    hasData = false
  }

  return {
    get served() {
      return served
    },
    push(chunk) {
      const found: PaymentEvent[] = []
      for (const byte of chunk) {
        const endsPair = afterReturn && byte === lineFeed
        afterReturn = byte === carriageReturn
        if (endsPair) continue
        if (byte === lineFeed || byte === carriageReturn) endLine(found)
        else if (length < maxLineBytes) line[length++] = byte
        else isTooLong = true
      }
      return found
    },
  }
}

function isPaymentEvent(type: string): type is PaymentEvent['type'] {
  return type === needVoucherEvent || type === streamReceiptEvent || type === streamErrorEvent
}
