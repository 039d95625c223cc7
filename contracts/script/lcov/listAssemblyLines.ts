/**
 * Numbers of the lines within blocks of inline assembly, closing lines included. The IR pipeline gives what is in them no
 * place in the source, so that they never seem to run.
 */
export function listAssemblyLines(solidity: string): Set<number> {
  const lines = new Set<number>()
  let depth = 0
  for (const [index, line] of solidity.split('\n').entries()) {
    const code = line.replace(/\/\/.*/, '')
    if (depth > 0) lines.add(index + 1)
    else if (!/^\s*assembly\b/.test(code)) continue
    depth += code.split('{').length - code.split('}').length
  }
  return lines
}
