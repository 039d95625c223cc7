import { z } from 'zod'
import { areCrashPoints } from '../createCrashPoints.ts'

/** What every service's environment has, for its zod object. `traceRatio`: the share of traces it begins, by default. */
export function processFields({ port, traceRatio }: { port: number; traceRatio: number }) {
  return {
    HOST: z.string().default('127.0.0.1'),
    PORT: z.coerce.number().int().min(0).max(65_535).default(port),
    LOG_LEVEL: z.enum(['fatal', 'error', 'warn', 'info', 'debug', 'silent']).default('info'),
    /** Base URL of an OTLP/HTTP receiver; traces go to `/v1/traces` below it. Without it nothing is recorded. */
    OTEL_EXPORTER_OTLP_ENDPOINT: z.url({ protocol: /^https?$/ }).optional(),
    /** The share of traces that is recorded, 0 to 1, of those that this service begins. */
    OTEL_TRACES_SAMPLER_ARG: z.coerce.number().min(0).max(1).default(traceRatio),
    /** For tests: where this process kills itself, see createCrashPoints. Refused with NODE_ENV=production. */
    CRASH_AT: z
      .string()
      .refine(areCrashPoints, 'must be names like part.step or part.step:3, with commas between them')
      .optional(),
  }
}
