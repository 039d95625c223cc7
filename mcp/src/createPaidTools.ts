import { AsyncLocalStorage } from 'node:async_hooks'
import type { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js'
import type { CallToolResult } from '@modelcontextprotocol/sdk/types.js'
import { formatAmount, parseAmount } from '@protocolbanks/stream-protocol'
import { type AgentLimits, createPayingFetch, type PayingFetchOptions } from '@protocolbanks/stream-sdk'
import { z } from 'zod'
import { explainRefusal } from './explainRefusal.ts'
import { readAnswer } from './readAnswer.ts'
import { type Tool, type ToolSettings, toolSettingsSchema } from './toolSettings.ts'
import { toRequest } from './toRequest.ts'

export type PaidToolsOptions = Omit<PayingFetchOptions, 'limits' | 'onReceipt' | 'confirm'> & {
  tools: ToolSettings[]
  /** What all tools together may spend while this lives, in the token's units, e.g. `'1.50'`. */
  budget: string
  /** Further limits of the agent; only the hosts of the tools are paid, whatever they say. */
  limits?: Omit<AgentLimits, 'allowedHosts' | 'budget'> | undefined
  /** How the model is told amounts. `USDC` by default. */
  currency?: string | undefined
}

export type PaidTools = {
  /** Adds every tool, and `payment_budget`, which costs nothing. One set of tools serves any number of servers. */
  register(server: McpServer): void
  /** What is left of the budget, in base units. */
  remainingAtomic(): bigint
}

/** One call of a tool: what it may cost, and what it did. */
type ToolCall = {
  tool: Tool
  maxAtomic: bigint | undefined
  /** Its price; of what is priced by use what is held for it, with all segments of a stream. */
  askedAtomic: bigint | undefined
  isByUse: boolean
  paidAtomic: bigint
}

/**
 * Paid HTTP APIs as tools for a language model. Each answer tells what it cost and what is left; a refusal says in words
 * what happened and what the model can do. The model chooses arguments, never hosts, prices or limits.
 *
 * @example createPaidTools({ tools, budget: '1.00', grant, sessionKey }).register(server)
 * @throws ZodError when the tools are not well formed, InvalidAmountError
 */
export function createPaidTools(options: PaidToolsOptions): PaidTools {
  const { budget, limits, currency = 'USDC', decimals = 6, tools: settings, ...paying } = options
  const tools = toolSettingsSchema.parse(settings)
  const calls = new AsyncLocalStorage<ToolCall>()
  const payingFetch = createPayingFetch({
    ...paying,
    decimals,
    limits: { ...limits, budget, allowedHosts: [...new Set(tools.map(({ url }) => hostOf(url)))] },
    confirm({ priceAtomic, pricing, segment }) {
      const call = calls.getStore()
      if (!call) return false
      call.askedAtomic = priceAtomic * BigInt(segment)
      call.isByUse = pricing.kind !== 'call'
      return call.maxAtomic === undefined || call.askedAtomic <= call.maxAtomic
    },
    onReceipt({ amountAtomic }) {
      const call = calls.getStore()
      if (call) call.paidAtomic += amountAtomic
    },
  })
  const remainingAtomic = () => payingFetch.remainingAtomic() ?? 0n
  const money = (amountAtomic: bigint) => `${formatAmount(amountAtomic, decimals)} ${currency}`
  const left = () => `Left of the budget: ${money(remainingAtomic())} of ${budget} ${currency}.`

  async function run(call: ToolCall, values: Record<string, unknown>): Promise<CallToolResult> {
    try {
      const { url, init } = toRequest(call.tool, values)
      const response = await payingFetch(url, init)
      const content = await readAnswer(response)
      const held = call.isByUse && call.askedAtomic !== undefined ? ` by use, of ${money(call.askedAtomic)} held` : ''
      const cost = `Cost: ${money(call.paidAtomic)}${held}. ${left()}`
      return {
        isError: response.status >= 400,
        content: [...content, { type: 'text', text: cost }],
        _meta: metaOf(call),
      }
    } catch (error) {
      const { tool, maxAtomic, askedAtomic } = call
      const refused = explainRefusal(error, {
        tool: tool.name,
        isByUse: call.isByUse,
        price: askedAtomic === undefined ? undefined : money(askedAtomic),
        maxPrice: maxAtomic === undefined ? undefined : money(maxAtomic),
      })
      return { isError: true, content: [{ type: 'text', text: `${refused} ${left()}` }], _meta: metaOf(call) }
    }
  }

  /** For programs; a model reads the same in words. Base units. */
  const metaOf = ({ paidAtomic, askedAtomic, isByUse }: ToolCall) => ({
    'protocolbanks.com/payment': {
      paidAtomic: `${paidAtomic}`,
      ...(isByUse && askedAtomic !== undefined && { heldAtomic: `${askedAtomic}` }),
      remainingAtomic: `${remainingAtomic()}`,
      decimals,
    },
  })

  return {
    remainingAtomic,
    register(server) {
      for (const tool of tools) {
        const maxAtomic = tool.maxPrice === undefined ? undefined : parseAmount(tool.maxPrice, decimals)
        const price = tool.maxPrice === undefined ? '' : ` Costs at most ${tool.maxPrice} ${currency} a call.`
        const config = { description: `${tool.description}${price}`, inputSchema: inputOf(tool) }
        server.registerTool(tool.name, config, (values: Record<string, unknown>) => {
          const call: ToolCall = { tool, maxAtomic, askedAtomic: undefined, isByUse: false, paidAtomic: 0n }
          return calls.run(call, () => run(call, values))
        })
      }
      const description = 'What is left of the budget for paid tools. Costs nothing.'
      server.registerTool('payment_budget', { description }, () => ({ content: [{ type: 'text', text: left() }] }))
    },
  }
}

const valueSchemas = { string: z.string().max(20_000), number: z.number(), boolean: z.boolean() }

function inputOf(tool: Tool): Record<string, z.ZodType> {
  return Object.fromEntries(
    Object.entries(tool.arguments).map(([name, { type, description, required }]) => {
      const schema = valueSchemas[type].describe(description)
      return [name, required ? schema : schema.optional()]
    }),
  )
}

/** The template's host is written out: its schema sees to that. */
function hostOf(url: string): string {
  return new URL(url).host
}
