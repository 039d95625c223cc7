/** A setting from the environment. Ends the program with one sentence when it is missing. */
export function env(name: string, fallback?: string): string {
  const value = process.env[name] || fallback
  if (value !== undefined) return value
  console.error(`Set ${name}: see examples/README.md.`)
  process.exit(1)
}
