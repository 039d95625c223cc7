const blocks = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'] as const

/** One character a value, 0 a space, the highest the full block. */
export function sparkline(values: readonly number[]): string {
  const highest = Math.max(0, ...values)
  return values
    .map((value) => (value <= 0 ? ' ' : blocks[Math.max(0, Math.ceil((value / highest) * blocks.length) - 1)]))
    .join('')
}
