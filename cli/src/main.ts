import { CliError } from './cliError.ts'
import { createProgram } from './createProgram.ts'
import { printable } from './formatTable.ts'

/** Something went wrong: a wrong option, a refusal, no gateway. Commands themselves end with 0 or 1. */
const exitOnError = 2

/** Runs `pb` with the arguments of a process, and leaves its exit code there. */
export async function main(argv: readonly string[]): Promise<void> {
  const program = createProgram({
    print: (text) => process.stdout.write(`${text}\n`),
    clock: Date.now,
    exit: (code) => {
      process.exitCode = code
    },
  })
  program.exitOverride()
  for (const command of [...program.commands, ...program.commands.flatMap(({ commands }) => commands)]) {
    command.exitOverride()
  }
  try {
    await program.parseAsync(argv)
  } catch (error) {
    process.exitCode = exitCodeOf(error)
    if (error instanceof CliError) {
      process.stderr.write(`${[error.message, ...error.lines].map((line) => printable(line)).join('\n')}\n`)
    } else if (!isUsage(error)) {
      process.stderr.write(`A mistake of ours: ${error instanceof Error ? error.stack : String(error)}\n`)
    }
  }
}

function exitCodeOf(error: unknown): number {
  // Help that was asked for is no error.
  return isUsage(error) && error.exitCode === 0 ? 0 : exitOnError
}

/** Commander has said what is wrong by itself. */
function isUsage(error: unknown): error is { code: string; exitCode: number } {
  return error instanceof Error && 'code' in error && String(error.code).startsWith('commander.')
}
