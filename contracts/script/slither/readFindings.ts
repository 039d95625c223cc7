/** What is wrong with the sources, one text each, ready to print. */
export type Findings = string[]

type SlitherOutput = {
  success?: boolean
  error?: string | null
  results?: { detectors?: Detected[] }
}

type Detected = {
  check?: string
  impact?: string
  description?: string
  unused_ignores?: { file: string; line: number; unused_detectors: string[] }[]
}

/**
 * Reads what `slither --json - --warn-unused-ignores` found in the sources below `directory`.
 *
 * @param json its standard output
 * @param log its standard error, which alone tells of functions that it could not read and so did not analyse
 * @throws when slither failed, so that its silence does not pass for a clean report
 */
export function readFindings(json: string, log: string, directory: string): Findings {
  const { success, error, results } = parseOutput(json, log)
  if (!success) throw new Error(`slither failed: ${error ?? log.slice(-2_000)}`)
  const findings: Findings = []
  for (const { check, impact, description = '', unused_ignores: unused } of results?.detectors ?? []) {
    if (!unused) findings.push(`${check} (${impact}): ${description.trim()}`)
    for (const { file, line, unused_detectors: names } of unused ?? []) {
      // Dependencies carry comments for the findings of their own authors.
      if (file.includes(directory))
        findings.push(`${file}:${line} explains a finding that is gone: ${names.join(', ')}`)
    }
  }
  for (const [message, source = ''] of log.matchAll(/Impossible to generate IR for [^\n]*?\(([^()\n]*)\)[^\n]*/g)) {
    if (source.startsWith(directory)) findings.push(`${message} So it was not analysed.`)
  }
  return [...new Set(findings)]
}

function parseOutput(json: string, log: string): SlitherOutput {
  try {
    const parsed: unknown = JSON.parse(json)
    if (typeof parsed === 'object' && parsed !== null) return parsed
  } catch {
    // Falls through to the error below, which shows the log.
  }
  throw new Error(`slither printed no JSON. It said: ${log.slice(-2_000) || 'nothing'}`)
}
