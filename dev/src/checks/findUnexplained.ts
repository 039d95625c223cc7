const directive = /^\s*\/\/\s*(slither-disable|forge-lint:)/
const comment = /^\s*\/\/+\s*\S/

/**
 * Line numbers of the comments that switch a finding of slither or forge lint off without a reason: a comment in words
 * above them, with nothing but other such comments between.
 */
export function findUnexplained(solidity: string): number[] {
  const lines = solidity.split('\n')
  return lines.flatMap((line, index) => {
    if (!/slither-disable|forge-lint:/.test(line)) return []
    let above = index - 1
    while (directive.test(lines[above] ?? '')) above--
    return directive.test(line) && comment.test(lines[above] ?? '') ? [] : [index + 1]
  })
}
