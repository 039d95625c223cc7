import type { FileMerchant } from '@protocolbanks/stream-db'
import { type Document, isMap, isNode, isScalar, LineCounter, parseDocument, visit } from 'yaml'
import { z } from 'zod'
import { nameSchema, nonZeroAddressSchema } from '../../api/schemas.ts'
import { serviceFields } from '../../api/serviceFields.ts'

export type ServicesFile = { merchants: FileMerchant[] }

export type ParsedServicesFile =
  | { ok: true; file: ServicesFile; lineOf(path: readonly PropertyKey[]): number }
  /** Each with its line and field. */
  | { ok: false; problems: string[] }

export type ServicesFileOptions = {
  tokenDecimals: number
  /** The least that a call by x402's `exact` may cost, base units. */
  minExactPrice?: bigint | undefined
}

const maxMerchants = 1_000
const maxServices = 10_000
const maxProblems = 20

/**
 * Reads the services file: merchants, who are known by their payees, with their services, which have the fields of the
 * management API. Numbers that are to be text, as prices and addresses, are taken as they are written.
 *
 * @example parseServicesFile('merchants: []', { tokenDecimals: 6 })
 */
export function parseServicesFile(text: string, options: ServicesFileOptions): ParsedServicesFile {
  const lines = new LineCounter()
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false })
  const lineAt = (offset: number) => lines.linePos(offset).line
  // What comes after the first mistake is mostly its consequence.
  const [broken] = [...document.errors, ...document.warnings]
  if (broken) return failed([`line ${lineAt(broken.pos[0])}: ${broken.message}`])

  keepText(document)
  const lineOf = (path: readonly PropertyKey[]) => lineAt(startOf(document, path))
  const schema = fileSchema(options)
  let parsed: ReturnType<typeof schema.safeParse>
  try {
    parsed = schema.safeParse(document.toJS())
  } catch (error) {
    // More aliases than people write.
    return failed([error instanceof Error ? error.message : String(error)])
  }
  // Once more for numbers without a fraction that are to be text.
  if (!parsed.success && asText(document, parsed.error.issues)) parsed = schema.safeParse(document.toJS())
  if (parsed.success) return { ok: true, file: parsed.data, lineOf }
  return failed(
    parsed.error.issues.flatMap((issue) => {
      const paths = issue.code === 'unrecognized_keys' ? issue.keys.map((key) => [...issue.path, key]) : [issue.path]
      const message = issue.code === 'unrecognized_keys' ? 'there is no such field' : issue.message
      return paths.map((path) => `line ${lineOf(path)}, ${nameOf(path)}: ${message}`)
    }),
  )
}

function failed(problems: string[]): ParsedServicesFile {
  const more = problems.length - maxProblems
  return { ok: false, problems: more > 0 ? [...problems.slice(0, maxProblems), `and ${more} more`] : problems }
}

function fileSchema(options: ServicesFileOptions) {
  const merchant = z.strictObject({
    name: nameSchema,
    payee: nonZeroAddressSchema,
    /** Sponsored gas per UTC day, wei. */
    gasBudgetWeiPerDay: z
      .string()
      .regex(/^\d{1,38}$/, 'must be a whole number of wei')
      .transform(BigInt)
      .optional(),
    services: z.array(serviceFields(options)).max(maxServices),
  })
  return z.strictObject({ merchants: z.array(merchant).max(maxMerchants) }).superRefine(({ merchants }, context) => {
    const refuseSecond = (seen: Set<string>, value: string, path: PropertyKey[]) => {
      if (seen.has(value)) context.addIssue({ code: 'custom', path, message: `${value} is there already` })
      seen.add(value)
    }
    const payees = new Set<string>()
    const paths = new Set<string>()
    for (const [index, { payee, services }] of merchants.entries()) {
      refuseSecond(payees, payee, ['merchants', index, 'payee'])
      const names = new Set<string>()
      for (const [at, { name, pathPrefix }] of services.entries()) {
        const path = ['merchants', index, 'services', at]
        refuseSecond(names, name, [...path, 'name'])
        refuseSecond(paths, pathPrefix, [...path, 'pathPrefix'])
      }
    }
    if (paths.size > maxServices) {
      context.addIssue({
        code: 'too_big',
        origin: 'array',
        maximum: maxServices,
        input: paths.size,
        path: ['merchants'],
      })
    }
  })
}

/** Fractions and what is written in hexadecimal are not made numbers: prices and addresses would lose digits. */
function keepText(document: Document): void {
  visit(document, {
    Scalar(_, node) {
      const { value, source } = node
      if (typeof value !== 'number' || source === undefined) return
      if (!Number.isSafeInteger(value) || !/^-?\d+$/.test(source)) node.value = source
    },
  })
}

/** Takes numbers as they are written where text is wanted. False: there are none. */
function asText(document: Document, issues: readonly z.core.$ZodIssue[]): boolean {
  let changed = false
  for (const issue of issues) {
    const node = document.getIn(issue.path, true)
    if (issue.code !== 'invalid_type' || issue.expected !== 'string' || !isScalar(node)) continue
    if (typeof node.value !== 'number' || node.source === undefined) continue
    node.value = node.source
    changed = true
  }
  return changed
}

/** Where a field is written; where it is missing, what it is missing from. */
function startOf(document: Document, path: readonly PropertyKey[]): number {
  for (let length = path.length; length > 0; length--) {
    const parent = document.getIn(path.slice(0, length - 1), true)
    if (isMap(parent)) {
      const pair = parent.items.find(({ key }) => isScalar(key) && key.value === path[length - 1])
      if (pair && isNode(pair.key) && pair.key.range) return pair.key.range[0]
    }
    const node = document.getIn(path.slice(0, length), true)
    if (isNode(node) && node.range) return node.range[0]
  }
  return document.contents?.range?.[0] ?? 0
}

/** @example nameOf(['merchants', 0, 'services', 1, 'price']) // 'merchants[0].services[1].price' */
function nameOf(path: readonly PropertyKey[]): string {
  if (path.length === 0) return 'the file'
  return path
    .map((part) => (typeof part === 'number' ? `[${part}]` : `.${String(part)}`))
    .join('')
    .replace(/^\./, '')
}
