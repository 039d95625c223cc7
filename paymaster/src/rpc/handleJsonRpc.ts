import { z } from 'zod'
import { RpcError, type RpcErrorBody, rpcCodes } from './rpcError.ts'

/** What a method is given: its params, untrusted, and who calls. */
export type RpcMethod<caller> = (params: unknown[], caller: caller) => Promise<unknown>

/** Calls of one batch; a client has little reason for more than a few. */
export const maxBatch = 20

const requestSchema = z.object({
  jsonrpc: z.literal('2.0'),
  // Absent: a notification.
  id: z.union([z.string().max(256), z.number(), z.null()]).optional(),
  method: z.string().max(128),
  params: z.array(z.unknown()).max(8).default([]),
})

type Id = string | number | null
export type RpcResponse = { jsonrpc: '2.0'; id: Id } & ({ result: unknown } | { error: RpcErrorBody })

export type RpcHandlerDeps<caller> = {
  methods: Readonly<Record<string, RpcMethod<caller>>>
  /** Something that is not an RpcError was thrown: say what to answer. */
  onError(error: unknown, method: string): RpcError
}

/**
 * JSON-RPC 2.0, single or in batches. Undefined: there is nothing to answer, because everything was a notification.
 * Calls of a batch run one after the other: each may take from the same budget.
 */
export async function handleJsonRpc<caller>(
  body: string,
  caller: caller,
  deps: RpcHandlerDeps<caller>,
): Promise<RpcResponse | RpcResponse[] | undefined> {
  let json: unknown
  try {
    json = JSON.parse(body)
  } catch {
    return failure(null, { code: rpcCodes.parse, message: 'The body is not JSON.' })
  }
  if (!Array.isArray(json)) return handleOne(json, caller, deps)
  if (json.length === 0 || json.length > maxBatch) {
    return failure(null, {
      code: rpcCodes.invalidRequest,
      message: `A batch has 1 to ${maxBatch} calls, not ${json.length}.`,
    })
  }
  const responses: RpcResponse[] = []
  for (const request of json) {
    const response = await handleOne(request, caller, deps)
    if (response) responses.push(response)
  }
  return responses.length > 0 ? responses : undefined
}

async function handleOne<caller>(
  json: unknown,
  caller: caller,
  { methods, onError }: RpcHandlerDeps<caller>,
): Promise<RpcResponse | undefined> {
  const parsed = requestSchema.safeParse(json)
  if (!parsed.success) {
    const [issue] = parsed.error.issues
    const message = `Not a JSON-RPC 2.0 request: ${issue?.path.join('.') ?? ''} ${issue?.message ?? ''}.`
    return failure(null, { code: rpcCodes.invalidRequest, message })
  }
  const { id, method, params } = parsed.data
  const response = await call(id ?? null)
  return id === undefined ? undefined : response

  async function call(answerTo: Id): Promise<RpcResponse> {
    const run = Object.hasOwn(methods, method) ? methods[method] : undefined
    if (!run) {
      const message = `There is no method ${method}. There are: ${Object.keys(methods).join(', ')}.`
      return failure(answerTo, { code: rpcCodes.unknownMethod, message })
    }
    try {
      return { jsonrpc: '2.0', id: answerTo, result: await run(params, caller) }
    } catch (error) {
      return failure(answerTo, (error instanceof RpcError ? error : onError(error, method)).body)
    }
  }
}

function failure(id: Id, error: RpcErrorBody): RpcResponse {
  return { jsonrpc: '2.0', id, error }
}
