/** What happens in a stream of server-sent events (HTML standard, 9.2.6), byte by byte. */
export type EventStreamListener = {
  /** A byte of the current event's data; the lines of data with more than one are joined by a line feed. */
  onData(byte: number): void
}

export type EventStream = {
  /** True: this byte ended an event, or a blank line that ends none. */
  push(byte: number): boolean
  /** Nothing of an event has come since the last one ended. */
  readonly isBetweenEvents: boolean
}

const lineFeed = 0x0a
const carriageReturn = 0x0d
const colon = 0x3a
const space = 0x20
const dataField = [0x64, 0x61, 0x74, 0x61]

/**
 * Follows a stream of events in constant memory. Lines end with CR, LF or both; comments and other fields are passed over.
 * Where a blank line ends with both, the event has ended at the CR.
 */
export function createEventStream({ onData }: EventStreamListener): EventStream {
  let lastWasReturn = false
  /** Bytes of this line so far, as far as it matters: more than the field's name and colon are all the same. */
  let position = 0
  let isData = true
  let isValue = false
  let hasData = false
  let isBetweenEvents = true

  function endLine(): boolean {
    const isBlank = position === 0
    // `data` alone is an empty line of data.
    if (!isBlank && isData && !isValue && position === dataField.length) beginData()
    position = 0
    isData = true
    isValue = false
    if (!isBlank) return false
    hasData = false
    isBetweenEvents = true
    return true
  }

  function beginData() {
    if (hasData) onData(lineFeed)
    hasData = true
    isValue = true
  }

  return {
    get isBetweenEvents() {
      return isBetweenEvents
    },
    push(byte) {
      const isSecondHalf = lastWasReturn && byte === lineFeed
      lastWasReturn = byte === carriageReturn
      if (isSecondHalf) return false
      if (byte === lineFeed || byte === carriageReturn) return endLine()
      isBetweenEvents = false
      if (isValue) {
        // One space after the colon is no part of the value.
        if (position > dataField.length + 1 || byte !== space) onData(byte)
      } else if (isData && position === dataField.length && byte === colon) beginData()
      else if (isData && byte !== dataField[position]) isData = false
      position = Math.min(position + 1, dataField.length + 2)
      return false
    },
  }
}
