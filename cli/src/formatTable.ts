/**
 * Rows under their headings, columns as wide as they must be. Control characters are shown as `?`: what others wrote
 * must not steer the terminal.
 *
 * @example formatTable(['id', 'state'], [['stl_1', 'dead']])
 */
export function formatTable(headings: readonly string[], rows: readonly (readonly (string | null)[])[]): string {
  const cells = [headings, ...rows].map((row) => headings.map((_, column) => printable(row[column] ?? '-')))
  const widths = headings.map((_, column) => Math.max(...cells.map((row) => row[column]?.length ?? 0)))
  return cells
    .map((row) => row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  '))
    .map((line) => line.trimEnd())
    .join('\n')
}

/** Name and value, one a line. */
export function formatFields(fields: readonly (readonly [string, string | null])[]): string {
  const width = Math.max(...fields.map(([name]) => name.length))
  return fields.map(([name, value]) => `${name.padEnd(width)}  ${printable(value ?? '-')}`).join('\n')
}

/** On one line, without control characters. */
export function printable(text: string): string {
  return text.replaceAll(/\s+/g, ' ').replaceAll(/[\p{Cc}\p{Cf}]/gu, '?')
}
