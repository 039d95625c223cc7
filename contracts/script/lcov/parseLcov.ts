/** What a run covered of one source file. A branch is one way a condition can go. */
export type FileCoverage = {
  /** Path as the report has it. */
  source: string
  lines: Counted
  branches: Counted
}

export type Counted = {
  total: number
  /** Line numbers of what never ran, ascending; a line stands once for each of its branches. */
  missed: number[]
}

/**
 * Reads an lcov tracefile (https://man.archlinux.org/man/geninfo.1#TRACEFILE_FORMAT): `DA:<line>,<hits>` and
 * `BRDA:<line>,<block>,<branch>,<hits or ->` of each `SF:<source>`.
 *
 * @param leaveOut lines of a source that do not count
 * @throws when the text is no such report, so that an empty one does not pass for full coverage
 */
export function parseLcov(text: string, leaveOut: (source: string) => Set<number> = () => new Set()): FileCoverage[] {
  const files: FileCoverage[] = []
  let file: FileCoverage | undefined
  let leftOut = new Set<number>()
  for (const record of text.split('\n')) {
    const [kind = '', value = ''] = splitOnce(record, ':')
    if (kind === 'SF') {
      file = { source: value, lines: { total: 0, missed: [] }, branches: { total: 0, missed: [] } }
      files.push(file)
      leftOut = leaveOut(value)
    } else if (file && (kind === 'DA' || kind === 'BRDA')) {
      const fields = value.split(',')
      const counted = kind === 'DA' ? file.lines : file.branches
      const line = Number(fields[0])
      const hits = kind === 'DA' ? fields[1] : fields[3]
      if (!Number.isInteger(line) || hits === undefined) throw new Error(`Not a record of lcov: ${record}`)
      if (leftOut.has(line)) continue
      counted.total++
      if (hits === '0' || hits === '-') counted.missed.push(line)
    }
  }
  if (files.length === 0) throw new Error(`Expected an lcov report, got: ${text.slice(0, 200) || 'nothing'}`)
  for (const { lines, branches } of files) for (const { missed } of [lines, branches]) missed.sort((a, b) => a - b)
  return files
}

function splitOnce(text: string, separator: string): string[] {
  const at = text.indexOf(separator)
  return at < 0 ? [text] : [text.slice(0, at), text.slice(at + 1)]
}
