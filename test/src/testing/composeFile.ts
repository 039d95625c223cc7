import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseEnv } from 'node:util'
import { parse } from 'yaml'

const root = fileURLToPath(new URL('../../../', import.meta.url))

/** A service of compose.yaml, as far as it is looked at; see the Compose Specification. */
export type ComposeService = {
  image?: string
  build?: string | { context: string }
  profiles?: string[]
  command?: string[]
  entrypoint?: string[]
  environment?: Record<string, string | number | null>
  secrets?: string[]
  volumes?: string[]
  networks?: string[]
  ports?: string[]
  depends_on?: Record<string, { condition: string }>
  healthcheck?: { test: string[] }
  restart?: string
  read_only?: boolean
  stop_grace_period?: string
  logging?: { driver: string; options: Record<string, string> }
  deploy?: { resources: { limits: { memory?: string; cpus?: string } } }
  network_mode?: string
}

export type ComposeFile = {
  services: Record<string, ComposeService>
  secrets: Record<string, { file: string }>
  volumes: Record<string, unknown>
  networks: Record<string, { internal?: boolean } | null>
}

/** `ops/compose/example.env`, with what `changes` says otherwise. */
export async function exampleEnv(changes: Record<string, string> = {}): Promise<Record<string, string>> {
  const text = await readFile(join(root, 'ops', 'compose', 'example.env'), 'utf8')
  return { ...(parseEnv(text) as Record<string, string>), ...changes }
}

/** The text of compose.yaml with the variables of `env` put in. @throws where one that must be set is not */
export async function readCompose(env: Record<string, string>): Promise<{ file: ComposeFile; raw: unknown }> {
  const text = await readFile(join(root, 'compose.yaml'), 'utf8')
  const raw: unknown = parse(text, { merge: true })
  return { file: interpolate(raw, env) as ComposeFile, raw }
}

/** What a service's process sees of its `environment`: what is left empty there comes from `env` or is not set. */
export function environmentOf(service: ComposeService, env: Record<string, string>): Record<string, string> {
  const entries = Object.entries(service.environment ?? {}).map(([name, value]) => [name, value ?? env[name]] as const)
  return Object.fromEntries(entries.flatMap(([name, value]) => (value === undefined ? [] : [[name, `${value}`]])))
}

const variable = /\$(?:\$|\{(\w+)(?::?([-?])([^}]*))?\})/g

/** The Compose Specification's interpolation, as far as compose.yaml uses it: ${X}, ${X:-default}, ${X:?message}, $$. */
function interpolate(value: unknown, env: Record<string, string>): unknown {
  if (typeof value === 'string') {
    return value.replace(variable, (whole, name: string | undefined, kind: string | undefined, text: string) => {
      if (name === undefined) return whole === '$$' ? '$' : whole
      const found = env[name]
      if (found) return found
      if (kind === '-') return text
      throw new Error(`compose.yaml needs ${name}: ${text}`)
    })
  }
  if (Array.isArray(value)) return value.map((item) => interpolate(item, env))
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, interpolate(item, env)]))
}
