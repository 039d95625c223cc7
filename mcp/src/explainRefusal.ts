import {
  BaseError,
  LimitExceededError,
  PaymentDeclinedError,
  PaymentRefusedError,
  StreamStoppedError,
} from '@protocolbanks/stream-sdk'

export type RefusedCall = {
  tool: string
  /** What the API asked, with its currency; undefined when it never came to that. */
  price: string | undefined
  /** Then the price is what was held at most, and an answer may have begun. */
  isByUse: boolean
  maxPrice: string | undefined
}

/** Why a call was not made or not answered, in words that a model can act on: what happened, what it cost, what next. */
export function explainRefusal(error: unknown, { tool, price, isByUse, maxPrice }: RefusedCall): string {
  if (error instanceof StreamStoppedError) {
    return `The answer of ${tool} broke off: ${firstLine(error)} What was delivered is paid, up to ${price ?? 'its price'}. Do not repeat it unchanged; tell the user.`
  }
  if (error instanceof PaymentDeclinedError) {
    const asks = `the API asks ${isByUse ? 'up to ' : ''}${price ?? 'more'}, and this tool pays at most ${maxPrice} a call`
    return `${tool} was not called: ${asks}. Nothing was paid. Do without it, or tell the user.`
  }
  if (error instanceof LimitExceededError) {
    const next = error.limit === 'maxPerHour' ? 'Try again later.' : 'Do not call it again; tell the user.'
    return `${tool} was not called, because it would go above a limit: ${firstLine(error)} Nothing was paid. ${next}`
  }
  if (error instanceof PaymentRefusedError) {
    const again =
      error.retryAfterSeconds !== undefined
        ? `Try again in ${error.retryAfterSeconds} s.`
        : error.retryable
          ? 'Try again in a moment.'
          : 'Do not repeat it unchanged.'
    const { title, code, hint } = error
    return [`The payment for ${tool} was refused (${code}): ${title}`, hint, 'Nothing was paid.', again]
      .filter((part) => part !== undefined)
      .join(' ')
  }
  if (error instanceof BaseError) return `${tool} failed (${error.code}): ${error.message.replaceAll('\n', ' ')}`
  const message = error instanceof Error ? error.message : String(error)
  // A payment that left may have been charged, and nobody told.
  const cost = price === undefined ? 'Nothing was paid.' : `Up to ${price} may have been paid.`
  return `${tool} was not answered: ${message}. ${cost} Try again in a moment.`
}

function firstLine({ message }: Error): string {
  return message.split('\n')[0] ?? ''
}
