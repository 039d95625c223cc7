import { readFileSync } from 'node:fs'

/** A process's environment. */
export type Env = Record<string, string | undefined>

export type SecretFiles = {
  /** The environment with what the files say, without the names of the files. */
  env: Env
  /** What is wrong, a line each, for the operator: no value, no secret. */
  problems: string[]
}

/**
 * Secrets out of files: where `DATABASE_URL_FILE` names a file, its content is `DATABASE_URL`, without white space at
 * its ends. Container platforms hand secrets over as files, which other than variables are not inherited, listed or
 * logged. Only of `names`, and never both.
 *
 * @example
 * readSecretFiles({ SETTLER_KEY_FILE: '/run/secrets/settler_key' }, ['SETTLER_KEY']).env // { SETTLER_KEY: '0x...' }
 */
export function readSecretFiles(env: Env, names: readonly string[]): SecretFiles {
  const result: SecretFiles = { env: { ...env }, problems: [] }
  for (const name of names) {
    const path = env[`${name}_FILE`]
    if (path === undefined) continue
    delete result.env[`${name}_FILE`]
    if (env[name] !== undefined) {
      result.problems.push(`${name}_FILE: goes without ${name}; set one of them`)
      continue
    }
    try {
      result.env[name] = readFileSync(path, 'utf8').trim()
    } catch (error) {
      const reason = error instanceof Error && 'code' in error ? String(error.code) : 'unknown'
      result.problems.push(`${name}_FILE: ${path} cannot be read (${reason})`)
    }
  }
  return result
}
