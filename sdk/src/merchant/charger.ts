import type { ChargesClient } from './chargesClient.ts'

/** What both middlewares charge with. Price in base units. */
export type Charger = { client: ChargesClient; service: string; amountAtomic: bigint }
