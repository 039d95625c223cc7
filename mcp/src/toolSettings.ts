import { z } from 'zod'

const argumentSchema = z.strictObject({
  type: z.enum(['string', 'number', 'boolean']).default('string'),
  /** What a model is told to write here. */
  description: z.string().min(1).max(500),
  required: z.boolean().default(true),
})

const toolSchema = z
  .strictObject({
    /** What a model calls it. */
    name: z.string().regex(/^[A-Za-z][A-Za-z0-9_-]{0,63}$/, 'must be a letter and up to 63 of A-Z a-z 0-9 _ -'),
    /** What it does, for the model that chooses it. */
    description: z.string().min(1).max(2_000),
    method: z.enum(['GET', 'POST', 'PUT', 'PATCH', 'DELETE']).default('GET'),
    /** Of the paid API; `{name}` stands for an argument, e.g. `https://api.example.com/weather/{city}`. */
    url: z.string().max(2_048).refine(isHttpTemplate, 'must be an http or https URL'),
    /** Name to what it is. Those that the URL does not name go to the query of a GET or DELETE, else to a JSON body. */
    arguments: z.record(z.string().regex(/^[A-Za-z]\w{0,63}$/), argumentSchema).default({}),
    /** Most that one call may cost, in the token's units. A higher price is refused before anything is signed. */
    maxPrice: z.string().optional(),
  })
  .superRefine((tool, context) => {
    for (const name of placeholdersOf(tool.url)) {
      if (tool.arguments[name]?.required) continue
      context.addIssue({ code: 'custom', path: ['arguments'], message: `the URL needs a required argument ${name}` })
    }
  })

/** The tools of one server, as a configuration file lists them. */
export const toolSettingsSchema = z
  .array(toolSchema)
  .min(1)
  .max(100)
  .refine((tools) => new Set(tools.map(({ name }) => name)).size === tools.length, 'two tools have one name')

/** One endpoint of a paid API as a tool. */
export type ToolSettings = z.input<typeof toolSchema>

/** With its defaults. */
export type Tool = z.output<typeof toolSchema>

/** Names in braces, in a URL. */
export function placeholdersOf(url: string): string[] {
  return [...url.matchAll(/\{(\w+)\}/g)].map(([, name]) => name ?? '')
}

/** The host has to be written out: an argument must not choose who is called. */
function isHttpTemplate(template: string): boolean {
  const [, origin = ''] = /^(https?:\/\/[^/?#]+)/.exec(template) ?? []
  return !/[{}@\\]/.test(origin) && URL.canParse(origin) && URL.canParse(template)
}
