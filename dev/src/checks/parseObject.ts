/** Reads the JSON object that `source` printed. @throws when it is something else, with the text */
export function parseObject(text: string, source: string): object {
  try {
    const parsed: unknown = JSON.parse(text)
    if (typeof parsed === 'object' && parsed !== null) return parsed
  } catch {
    // Falls through to the error below, which shows the text.
  }
  throw new Error(`Expected the JSON of ${source}, got: ${text.slice(0, 500) || 'nothing'}`)
}
