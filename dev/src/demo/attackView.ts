import { formatAmount } from '@protocolbanks/stream-protocol'
import { sparkline } from './sparkline.ts'

const binMs = 50
/** Fits a terminal of 80 columns beside the words. */
const maxBins = 40

/** Shows the thief's calls as they are made: served a bar that climbs, refused counted. */
export function createAttackView(p: {
  clock(): number
  priceAtomic: bigint
  decimals: number
  out: { isTTY?: boolean | undefined; write(text: string): void }
}) {
  const { clock, priceAtomic, decimals, out } = p
  const startedAt = clock()
  const bins: number[] = []
  let served = 0
  let refused = 0

  function line(): string {
    const lost = formatAmount(priceAtomic * BigInt(served), decimals)
    return `  thief  ${sparkline(bins.slice(-maxBins)).padEnd(maxBins)}  ${served} served, ${refused} refused, ${lost} USDC`
  }

  return {
    count(isServed: boolean): void {
      const bin = Math.floor((clock() - startedAt) / binMs)
      while (bins.length <= bin) bins.push(0)
      if (isServed) {
        served++
        bins[bin] = (bins[bin] ?? 0) + 1
      } else {
        refused++
      }
      if (out.isTTY) out.write(`\r${line()}`)
    },
    end(): void {
      out.write(out.isTTY ? '\n' : `${line()}\n`)
    },
  }
}
