import type { CallToolResult } from '@modelcontextprotocol/sdk/types.js'

/** What of an answer reaches the model: more would cost it more than it helps. */
const maxBytes = 256 * 1024

/** An answer as a model reads it: text as text, images as images, and of anything else its type and size. */
export async function readAnswer(response: Response): Promise<CallToolResult['content']> {
  const type = (response.headers.get('content-type') ?? 'text/plain').split(';')[0]?.trim().toLowerCase() ?? ''
  const { bytes, isWhole } = await readStart(response)
  const status = response.ok ? '' : `The API answered with status ${response.status}.\n`
  if (/^text\/|[/+](json|xml|x-ndjson|javascript|yaml)$/.test(type)) {
    const cut = isWhole ? '' : `\n(cut after ${maxBytes} bytes)`
    return [{ type: 'text', text: `${status}${new TextDecoder().decode(bytes)}${cut}` }]
  }
  if (/^image\//.test(type) && isWhole && response.ok) {
    return [{ type: 'image', mimeType: type, data: Buffer.from(bytes).toString('base64') }]
  }
  const size = isWhole ? `${bytes.byteLength} bytes` : `more than ${maxBytes} bytes`
  return [{ type: 'text', text: `${status}(${size} of ${type}, which cannot be shown here)` }]
}

async function readStart(response: Response): Promise<{ bytes: Uint8Array; isWhole: boolean }> {
  const reader = response.body?.getReader()
  const chunks: Uint8Array[] = []
  let size = 0
  while (reader && size <= maxBytes) {
    const { done, value } = await reader.read()
    if (done) return { bytes: Buffer.concat(chunks), isWhole: true }
    chunks.push(value)
    size += value.byteLength
  }
  await reader?.cancel()
  return { bytes: Buffer.concat(chunks).subarray(0, maxBytes), isWhole: reader === undefined }
}
