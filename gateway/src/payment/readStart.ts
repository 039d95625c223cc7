export type Start =
  /** All of it. */
  | { whole: Uint8Array<ArrayBuffer> }
  /** It is longer: all of it from its beginning, with what was read of it. */
  | { stream: ReadableStream<Uint8Array> }

/** Reads a body of unknown length whole when it is no longer than `maxBytes`; a longer one streams on, at its reader's pace. */
export async function readStart(body: ReadableStream<Uint8Array>, maxBytes: number): Promise<Start> {
  const reader = body.getReader()
  const chunks: Uint8Array[] = []
  for (let size = 0; size <= maxBytes; ) {
    const { done, value } = await reader.read()
    if (done) return { whole: Uint8Array.from(Buffer.concat(chunks)) }
    chunks.push(value)
    size += value.byteLength
  }
  const stream = new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        const first = chunks.shift()
        if (first) return controller.enqueue(first)
        const { done, value } = await reader.read()
        if (done) controller.close()
        else controller.enqueue(value)
      },
      cancel: (reason) => reader.cancel(reason),
    },
    { highWaterMark: 0 },
  )
  return { stream }
}
