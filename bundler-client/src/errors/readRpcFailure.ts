/** What is left of a failed JSON-RPC call when the layers around it are taken off. */
export type RpcFailure = {
  /** False: there was no JSON-RPC answer at all (network, timeout, HTTP error), or only an internal error. */
  answered: boolean
  /** The server's own words. */
  detail: string
  rpcCode: number | undefined
  /** `error.data` when it is hex: revert data. */
  revertData: string | undefined
  /** `error.data` as it came. */
  data: unknown
}

const maxCauses = 16

/** Reads viem's chain of causes down to the JSON-RPC error, which has `code`, `details` and `data`. */
export function readRpcFailure(error: unknown): RpcFailure {
  let current: unknown = error
  let last: unknown = error
  for (let depth = 0; depth < maxCauses && current instanceof Error; depth++) {
    last = current
    const { name, code, details, data } = current as { name: string; code?: unknown; details?: unknown; data?: unknown }
    if (name === 'RpcRequestError') {
      return {
        answered: code !== internalError,
        detail: typeof details === 'string' ? details : current.message,
        // Some bundlers leave it out.
        rpcCode: typeof code === 'number' ? code : undefined,
        revertData: revertDataOf(data),
        data,
      }
    }
    current = current.cause
  }
  return { answered: false, detail: detailOf(last), rpcCode: undefined, revertData: undefined, data: undefined }
}

// JSON-RPC 2.0: the server failed, not the request.
const internalError = -32603

function revertDataOf(data: unknown): string | undefined {
  if (typeof data === 'string' && /^0x[0-9a-fA-F]*$/.test(data)) return data
  if (typeof data === 'object' && data !== null && 'revertData' in data) return revertDataOf(data.revertData)
  return undefined
}

function detailOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const { details, shortMessage } = error as { details?: unknown; shortMessage?: unknown }
  const words = [shortMessage, details].filter((text) => typeof text === 'string' && text.length > 0)
  return words.length > 0 ? words.join(' ') : error.message
}
