import { repositoryRoot, runProgram } from './runProgram.ts'
import type { StepResult } from './runSteps.ts'

/**
 * These matter where money is kept: in the sources each is explained where it stands. A test that casts, shifts or
 * transfers wrongly fails by itself, and which files tests may read is in foundry.toml.
 */
const habitsOfTests = [
  'block-timestamp',
  'erc20-unchecked-transfer',
  'incorrect-shift',
  'mixed-case-function',
  'unsafe-cheatcode',
  'unsafe-typecast',
]
const testPath = /^contracts\/test\//

type Diagnostic = {
  code: { code: string } | null
  spans: { file_name: string }[]
  rendered: string
}

/** Fails on any finding of `forge lint`, which by itself ends with 0 whatever it finds, and when nothing compiles too. */
export async function lintContracts(
  print: (line: string) => void,
  directory: string = repositoryRoot,
): Promise<StepResult> {
  const { exitCode, stdout } = await runProgram('forge', ['lint', '--json'], { output: 'all', directory })
  const findings = stdout
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map(parseDiagnostic)
    .filter(isFinding)
  for (const { rendered } of findings) print(rendered.trimEnd())
  if (findings.length > 0) {
    print(
      `${findings.length} findings. Correct each, or give the reason above a \`// forge-lint: disable-next-line(name)\`.`,
    )
    return { exitCode: exitCode || 1 }
  }
  if (exitCode === 0 && !/^Error/m.test(stdout)) return { exitCode }
  print(stdout)
  return { exitCode: exitCode || 1 }
}

function parseDiagnostic(line: string): Diagnostic {
  const parsed = JSON.parse(line) as Partial<Diagnostic>
  if (!Array.isArray(parsed.spans) || typeof parsed.rendered !== 'string') {
    throw new Error(`Not a diagnostic of forge lint: ${line.slice(0, 500)}`)
  }
  return { code: parsed.code ?? null, spans: parsed.spans, rendered: parsed.rendered }
}

function isFinding({ code, spans }: Diagnostic): boolean {
  const isHabit = code !== null && habitsOfTests.includes(code.code)
  return !(isHabit && spans.length > 0 && spans.every(({ file_name }) => testPath.test(file_name)))
}
