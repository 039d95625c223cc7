import { z } from 'zod'
import { pageSchema } from '../schemas.ts'

// What answers of the management API are made of.

export const idSchema = (prefix: string) => z.string().regex(new RegExp(`^${prefix}_[0-9a-f]{32}$`))
export const address = z.string().regex(/^0x[0-9a-fA-F]{40}$/)
export const hex32 = z.string().regex(/^0x[0-9a-f]{64}$/)
export const hex = z.string().regex(/^0x[0-9a-f]*$/)
/** ISO 8601, UTC, milliseconds. */
export const moment = z
  .string()
  .regex(/^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$/)
  .meta({ format: 'date-time' })
/** An amount of the token, as `0.01`. */
export const decimal = z.string().regex(/^\d+(\.\d+)?$/)
/** A whole number as a string: base units, wei, a block. */
export const whole = z.string().regex(/^\d+$/)
export const text = z.string()
export const count = z.int().min(0)
/** What has no fixed fields. */
export const anything = z.record(z.string(), z.unknown())

/** An amount as the token writes it, and in base units under the same name with `Atomic`. */
export function money<const Names extends readonly string[]>(...names: Names) {
  return shape(names, decimal, whole)
}

/** The same, null where there is none. */
export function moneyOrNull<const Names extends readonly string[]>(...names: Names) {
  return shape(names, decimal.nullable(), whole.nullable())
}

/** A page of a list, under its name. `nextCursor` is missing on the last one. */
export function page<Name extends string, Item extends z.ZodType>(name: Name, item: Item, more: z.ZodRawShape = {}) {
  return z.strictObject({ ...more, [name]: z.array(item), nextCursor: z.string().optional() })
}

export { pageSchema }

function shape(names: readonly string[], plain: z.ZodType, atomic: z.ZodType): z.ZodRawShape {
  return Object.fromEntries(
    names.flatMap((name) => [
      [name, plain],
      [`${name}Atomic`, atomic],
    ]),
  )
}
