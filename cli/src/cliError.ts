/** What went wrong and what to do next, for the person at the terminal. Never holds a secret. */
export class CliError extends Error {
  readonly lines: readonly string[]
  constructor(message: string, lines: readonly string[] = []) {
    super(message)
    this.lines = lines
  }
}
