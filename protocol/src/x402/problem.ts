import { z } from 'zod'

/** RFC 9457 problem details, `application/problem+json`. */
export const problemSchema = z.looseObject({
  /** Page that explains the code. */
  type: z.string(),
  title: z.string(),
  status: z.number().int(),
  detail: z.string().optional(),
  instance: z.string().optional(),
  /** Our stable code, e.g. `voucher.exhausted`. */
  code: z.string(),
  /** What to do next, in one sentence. */
  hint: z.string().optional(),
})
export type Problem = z.output<typeof problemSchema>

export const problemContentType = 'application/problem+json'
