import type { RuleHolder, RuleScope, RuleTerms } from '@protocolbanks/stream-db'
import { hex32Schema } from '@protocolbanks/stream-protocol'
import { compileRule } from '@protocolbanks/stream-rules'
import { z } from 'zod'
import { ApiRefusal } from '../apiProblem.ts'
import { nameSchema, nonZeroAddressSchema } from '../schemas.ts'

const maxListed = 50
const longestBlockSeconds = 30 * 86_400
/** How long an expression may be says its own check, with the place. */
const maxExpressionText = 10_000

const list = <T extends z.ZodType>(schema: T) =>
  z
    .array(schema)
    .min(1)
    .max(maxListed)
    .transform((items) => [...new Set(items)])
    .optional()

const serviceIdSchema = z.string().regex(/^svc_[0-9a-f]{32}$/, 'must be the id of a service')

export const scopeSchema = z
  .strictObject({ grantIds: list(hex32Schema), payees: list(nonZeroAddressSchema), services: list(serviceIdSchema) })
  .transform(
    ({ grantIds, payees, services }): RuleScope => ({
      ...(grantIds && { grantIds }),
      ...(payees && { payees }),
      ...(services && { services }),
    }),
  )

export const expressionSchema = z
  .string()
  .trim()
  .min(1)
  .max(maxExpressionText)
  .refine((text) => !/[^\P{Cc}\n\t]|\p{Cs}/u.test(text), 'must not contain control characters')
export const actionSchema = z.enum(['alert', 'block', 'freeze', 'revoke'])
export const blockSecondsSchema = z.int().min(1).max(longestBlockSeconds)

const fields = z.strictObject({
  name: nameSchema,
  expression: expressionSchema,
  scope: scopeSchema,
  action: actionSchema,
  severity: z.enum(['info', 'warning', 'critical']),
  /** Of `block`, and only then. */
  blockSeconds: blockSecondsSchema.nullable(),
})

export const newRuleSchema = fields.partial({ scope: true, severity: true, blockSeconds: true }).transform(
  ({ scope = {}, severity, blockSeconds = null, ...rest }): RuleTerms => ({
    ...rest,
    scope,
    severity: severity ?? (rest.action === 'alert' ? 'warning' : 'critical'),
    blockSeconds,
  }),
)

export const ruleChangeSchema = fields
  .partial()
  .refine((change) => Object.values(change).some((value) => value !== undefined), 'must change something')
  .transform(
    (change): Partial<RuleTerms> =>
      Object.fromEntries(Object.entries(change).filter(([, value]) => value !== undefined)),
  )

type Checked = Pick<RuleTerms, 'expression' | 'action' | 'blockSeconds'>

/** What a rule may not be, for this holder. @throws ApiRefusal 400, 422 */
export function assertRule({ merchantId }: RuleHolder, { expression, action, blockSeconds }: Checked): void {
  const compiled = compileRule(expression)
  if ('problem' in compiled) {
    const { line, column, message } = compiled.problem
    throw new ApiRefusal(422, 'rule.invalid', 'The expression is not one that a rule can have.', {
      detail: `Line ${line}, column ${column}: ${message}.`,
      hint: 'The language is in docs/rules.md.',
    })
  }
  if (merchantId !== null && action === 'revoke') {
    throw new ApiRefusal(422, 'rule.action_refused', "A merchant's rule does not revoke.", {
      detail: 'A merchant stops what goes to the merchant, and takes nobody’s key away.',
      hint: 'Use `freeze`, which holds until you unfreeze, or `block`.',
    })
  }
  if ((action === 'block') !== (blockSeconds !== null)) {
    throw new ApiRefusal(400, 'request.invalid', 'The request is not valid.', {
      detail:
        action === 'block'
          ? 'blockSeconds: a rule that blocks says for how long'
          : 'blockSeconds: only a rule that blocks says for how long; null otherwise',
    })
  }
}
