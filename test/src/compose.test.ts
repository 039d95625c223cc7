import { readFile, stat, writeFile } from 'node:fs/promises'
import { isBuiltin } from 'node:module'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { createTempDir, devAccounts, type TempDir } from '@protocolbanks/stream-dev'
import { Ajv2020 } from 'ajv/dist/2020.js'
import { validate } from 'dockerfile-utils'
import { build } from 'esbuild'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { type ComposeFile, environmentOf, exampleEnv, readCompose } from './testing/composeFile.ts'
import { readDockerfile, type Stage } from './testing/dockerfile.ts'
import { readDockerignore } from './testing/dockerignore.ts'
import { listFiles } from './testing/listFiles.ts'
import { makeSecrets } from './testing/makeSecrets.ts'

// What can be said of the deployment without starting it. containers.test.ts builds and starts it.

const root = fileURLToPath(new URL('../../', import.meta.url))
const files = await listFiles(root)

let secrets: TempDir
let example: Record<string, string>
let compose: ComposeFile
let raw: unknown
let image: Stage
beforeAll(async () => {
  secrets = await createTempDir('secrets')
  await makeSecrets(secrets.path, {
    rpc_url: 'https://rpc.example/key',
    bundler_url: 'http://bundler:4337',
    settler_key: devAccounts.settler.privateKey,
    paymaster_signer_key: devAccounts.paymasterSigner.privateKey,
    guardian_key: devAccounts.guardian.privateKey,
  })
  example = await exampleEnv()
  const read = await readCompose(example)
  compose = read.file
  raw = read.raw
  const stages = await readDockerfile(join(root, 'Dockerfile'))
  image = stages.at(-1) as Stage
}, 120_000)
afterAll(() => secrets?.remove())

/** Services that run our image, by the program that they name. */
function ours(): [name: string, program: string, service: ComposeFile['services'][string]][] {
  return Object.entries(compose.services).flatMap(([name, service]) =>
    service.image?.startsWith('protocol-banks-stream') && !service.profiles
      ? [[name, service.command?.[0] ?? '', service] as const satisfies readonly [string, string, unknown]]
      : [],
  ) as [string, string, ComposeFile['services'][string]][]
}

const isOneShot = (name: string) => compose.services[name]?.restart === 'no'

describe('compose.yaml', () => {
  test('is what the Compose Specification allows', async () => {
    const path = join(root, 'test', 'vendor', 'compose-spec', 'compose-spec.json')
    const ajv = new Ajv2020({ strict: false, allErrors: true })
    const isValid = ajv.compile(JSON.parse(await readFile(path, 'utf8')))
    isValid(raw)
    expect(isValid.errors ?? []).toEqual([])
  })

  test('names no volume, network, secret or service that it does not declare, and declares none that nobody uses', () => {
    const services = Object.values(compose.services)
    const mounts = services.flatMap(({ volumes = [] }) => volumes.map((volume) => volume.split(':')[0] ?? ''))
    const named = (list: string[]) => [...new Set(list)].sort()
    expect(named(mounts.filter((mount) => !mount.startsWith('.')))).toEqual(named(Object.keys(compose.volumes)))
    expect(named(services.flatMap(({ networks = [] }) => networks))).toEqual(named(Object.keys(compose.networks)))
    expect(named(services.flatMap(({ secrets = [] }) => secrets))).toEqual(named(Object.keys(compose.secrets)))
    const dependencies = services.flatMap(({ depends_on = {} }) => Object.keys(depends_on))
    expect(dependencies.filter((name) => !(name in compose.services))).toEqual([])
  })

  test('mounts only files and folders of the repository', async () => {
    const mounts = Object.values(compose.services).flatMap(({ volumes = [] }) =>
      volumes.map((v) => v.split(':')[0] ?? ''),
    )
    const here = mounts.filter((mount) => mount.startsWith('.')).map((mount) => mount.slice(2))
    expect(here).not.toEqual([])
    for (const path of here)
      expect(
        files.some((file) => file === path || file.startsWith(`${path}/`)),
        path,
      ).toBe(true)
  })

  test('has every secret from make-secrets.sh or from the operator, and git keeps none', async () => {
    for (const [name, { file }] of Object.entries(compose.secrets)) {
      expect(file).toBe(`ops/compose/secrets/${name}`)
      await stat(join(secrets.path, name))
    }
    expect(files.filter((file) => file.startsWith('ops/compose/secrets/'))).toEqual(['ops/compose/secrets/.gitignore'])
  })

  test('gives each service of ours exactly what its configuration reads', async () => {
    // Values for what is optional, so that a name which nobody reads is seen.
    const optional = {
      LOG_LEVEL: 'warn',
      OTEL_EXPORTER_OTLP_ENDPOINT: 'http://otel-collector:4318',
      OTEL_TRACES_SAMPLER_ARG: '0.5',
      MAX_CHAIN_STALENESS_SECONDS: '60',
      CONFIRMATIONS: '3',
      CREDIT_PER_GRANT_ATOMIC: '1000000',
      CREDIT_PER_ACCOUNT_ATOMIC: '2000000',
      OWNER_ORIGINS: 'https://console.example',
      ALERT_FROM: 'Stream <alerts@example.com>',
      ALERT_REPEAT_SECONDS: '600',
      ALERT_MAX_REPEATS: '3',
      MAX_FEE_PER_GAS_WEI: '1000000000',
      OPERATOR_GAS_BUDGET_WEI_PER_DAY: '1000000000',
      ENTRY_POINT_07: example.ENTRY_POINT ?? '',
      SPONSOR_PAYMASTER_07: example.SPONSOR_PAYMASTER ?? '',
      SAFE_PROXY_FACTORY: example.ACCOUNT_FACTORY ?? '',
      ACCOUNT_DELEGATE: example.ACCOUNT_FACTORY ?? '',
    }
    expect(ours().map(([name]) => name)).toEqual(
      expect.arrayContaining(['gateway-1', 'gateway-2', 'settlement', 'paymaster', 'sentinel']),
    )
    for (const [name, program, service] of ours()) {
      const loadConfig = await configOf(program)
      for (const env of [example, { ...example, ...optional }]) {
        const given = { ...image.env, ...environmentOf(service, env) }
        const local = Object.entries(given).map(([key, value]) => [key, value.replace('/run/secrets', secrets.path)])
        const config = loadConfig(Object.fromEntries(local))
        const read = new Set([...Object.keys(config), 'NODE_ENV'])
        const unknown = Object.keys(given).filter((key) => !read.has(key.replace(/_FILE$/, '')))
        expect({ name, unknown }).toEqual({ name, unknown: [] })
      }
      const files = Object.entries(environmentOf(service, example)).filter(([key]) => key.endsWith('_FILE'))
      expect(files.map(([, file]) => file.replace('/run/secrets/', '')).sort()).toEqual(
        expect.arrayContaining([...new Set(service.secrets)].sort()),
      )
    }
  })

  test('settles by transactions with ops/compose/transaction-route.yaml', async () => {
    const text = await readFile(join(root, 'ops', 'compose', 'transaction-route.yaml'), 'utf8')
    const override = parse(text) as Pick<ComposeFile, 'services' | 'secrets'>
    expect(override.secrets).toEqual({ transaction_key: { file: 'ops/compose/secrets/transaction_key' } })
    const { environment = {}, secrets: added } = override.services.settlement ?? {}
    expect(added).toEqual(Object.keys(override.secrets))
    const given = { ...environmentOf(compose.services.settlement ?? {}, example), ...environment }
    const local = Object.entries(given).map(([key, value]) => [key, `${value}`.replace('/run/secrets', secrets.path)])
    await writeFile(join(secrets.path, 'transaction_key'), devAccounts.operator.privateKey)
    const loadConfig = await configOf('settlement')
    expect(loadConfig(Object.fromEntries(local))).toMatchObject({ SETTLEMENT_ROUTE: 'transaction' })
  })

  test('names every variable that it takes from .env in the example, and the example none that is not taken', async () => {
    const text = await readFile(join(root, 'compose.yaml'), 'utf8')
    const taken = new Set([...text.matchAll(/(?<!\$)\$\{(\w+)/g)].map(([, name = '']) => name))
    for (const service of Object.values(compose.services)) {
      for (const [name, value] of Object.entries(service.environment ?? {})) if (value === null) taken.add(name)
    }
    const lines = (await readFile(join(root, 'ops', 'compose', 'example.env'), 'utf8')).split('\n')
    const offered = new Set(lines.flatMap((line) => /^(?:# )?([A-Z][A-Z0-9_]*)=/.exec(line)?.[1] ?? []))
    expect([...taken].filter((name) => !offered.has(name))).toEqual([])
    expect([...offered].filter((name) => !taken.has(name))).toEqual([])
  })

  test('lets the proxy alone be reached from outside, and Postgres and Redis reach nobody', () => {
    const published = Object.entries(compose.services).filter(([, { ports = [] }]) =>
      ports.some((port) => !port.startsWith('127.0.0.1:')),
    )
    expect(published.map(([name]) => name)).toEqual(['proxy'])
    expect(compose.networks.back?.internal).toBe(true)
    for (const name of ['postgres', 'redis']) expect(compose.services[name]?.networks).toEqual(['back'])
  })

  test('starts again what ends, bounds its memory and its log, and gives it time to stop', () => {
    for (const [name, service] of Object.entries(compose.services)) {
      expect(service.logging?.options, name).toEqual({ 'max-size': '10m', 'max-file': '5' })
      if (isOneShot(name)) continue
      expect(service.restart, name).toBe('unless-stopped')
      expect(service.deploy?.resources.limits.memory, name).toMatch(/^\d+[MG]$/)
      expect(service.stop_grace_period, name).toMatch(/^\d+s$/)
    }
  })

  test('runs our image without a right that it does not need', () => {
    for (const [name, , service] of ours()) {
      expect({ name, ...service }).toMatchObject({
        read_only: true,
        cap_drop: ['ALL'],
        security_opt: ['no-new-privileges:true'],
        init: true,
      })
    }
  })

  test('waits for what a service stands on until that is healthy, and everything waited for says when it is', async () => {
    for (const [name, { depends_on = {} }] of Object.entries(compose.services)) {
      for (const [other, { condition }] of Object.entries(depends_on)) {
        const expected = isOneShot(other) ? 'service_completed_successfully' : 'service_healthy'
        expect({ name, other, condition }).toEqual({ name, other, condition: expected })
        const service = compose.services[other]
        const hasCheck = service?.healthcheck !== undefined || service?.image?.startsWith('protocol-banks-stream')
        if (!isOneShot(other)) expect(hasCheck, other).toBe(true)
      }
    }
  })

  test('uses images of a named version', () => {
    for (const { image = '' } of Object.values(compose.services)) expect(image).toMatch(/:(?!latest$)[\w.-]+$/)
  })

  test('the proxy knows the gateways by their names and their port', async () => {
    const caddyfile = await readFile(join(root, 'ops', 'compose', 'Caddyfile'), 'utf8')
    const [, upstreams = ''] = /reverse_proxy (.*) \{/.exec(caddyfile) ?? []
    const gateways = ours().filter(([, program]) => program === 'gateway')
    expect(upstreams.split(' ')).toEqual(gateways.map(([name]) => `${name}:${image.env.PORT}`))
    expect(caddyfile).toContain('health_uri /health')
  })
})

describe('the Dockerfile', () => {
  test.each(['Dockerfile', 'ops/compose/bundler/Dockerfile'])('%s passes the linter', async (path) => {
    const problems = validate(await readFile(join(root, path), 'utf8'))
    expect(problems.map(({ message, range }) => `${range.start.line + 1}: ${message}`)).toEqual([])
  })

  test.each(['Dockerfile', 'ops/compose/bundler/Dockerfile'])(
    '%s ends as a user who is not root, on a Node of a named version',
    async (path) => {
      const stages = await readDockerfile(join(root, path))
      const names = stages.flatMap(({ name }) => name ?? [])
      for (const { base } of stages) if (!names.includes(base)) expect(base).toBe('node:20-slim')
      expect(stages.at(-1)?.user).toBe('node')
    },
  )

  test('says what the services answer to: SIGTERM, the port, /ready', () => {
    expect(image).toMatchObject({ stopSignal: 'SIGTERM', ports: [image.env.PORT] })
    expect(image.healthcheck.at(-1)).toBe(`http://127.0.0.1:${image.env.PORT}/ready`)
  })

  test('lets no secret, no test and nothing that was built into the image', async () => {
    const isIgnored = readDockerignore(await readFile(join(root, '.dockerignore'), 'utf8'))
    const kept = files.filter((path) => !isIgnored(path))
    expect(
      kept.filter(
        (path) =>
          /\.test\.ts$|(^|\/)(dist|node_modules|testing)\/|secret|\.env|\.pem$/i.test(path) &&
          !path.endsWith('/readSecretFiles.ts') &&
          !path.endsWith('/secretBox.ts'),
      ),
    ).toEqual([])
    expect(kept).toEqual(
      expect.arrayContaining(['package-lock.json', 'gateway/src/main.ts', 'gateway/src/meter/lua/charge.lua']),
    )
  })

  test('copies the package.json of every workspace that a service stands on', async () => {
    const needed = new Set<string>()
    const add = async (workspace: string): Promise<void> => {
      if (needed.has(workspace)) return
      needed.add(workspace)
      for (const name of Object.keys((await manifestOf(workspace)).dependencies ?? {})) {
        if (name.startsWith('@protocolbanks/stream-')) await add(name.replace('@protocolbanks/stream-', ''))
      }
    }
    const programs = new Set(ours().map(([, program]) => program))
    for (const workspace of [...programs, 'cli']) await add(workspace)
    const stages = await readDockerfile(join(root, 'Dockerfile'))
    const copied = stages
      .filter(({ name }) => name === 'packages')
      .flatMap(({ steps }) => steps.flatMap((step) => (step.kind === 'copy' ? step.sources : [])))
    expect([...needed].filter((workspace) => !copied.includes(`${workspace}/package.json`))).toEqual([])
  })
})

test('what a program of the image imports when it runs is among the dependencies that are installed with it', async () => {
  const programs = ours().map(([, program]) => `${program}/src/main.ts`)
  const imported = new Map<string, Set<string>>()
  await build({
    entryPoints: [...new Set(programs), 'cli/src/main.ts'],
    absWorkingDir: root,
    outdir: 'none',
    write: false,
    bundle: true,
    platform: 'node',
    format: 'esm',
    plugins: [
      {
        name: 'note packages',
        setup({ onResolve }) {
          onResolve({ filter: /^[^./#]/ }, ({ path, importer, kind }) => {
            if (kind === 'entry-point' || path.startsWith('@protocolbanks/')) return undefined
            const [workspace = ''] = relative(root, importer).split('/')
            const [name] = /^(@[^/]+\/)?[^/]+/.exec(path) ?? ['']
            imported.set(workspace, (imported.get(workspace) ?? new Set()).add(name))
            return { path, external: true }
          })
        },
      },
    ],
  })
  expect([...imported.keys()]).toEqual(expect.arrayContaining(['gateway', 'db', 'protocol', 'cli']))
  for (const [workspace, names] of imported) {
    const { dependencies = {} } = await manifestOf(workspace)
    const missing = [...names].filter((name) => !isBuiltin(name) && !(name in dependencies))
    expect({ workspace, missing }).toEqual({ workspace, missing: [] })
  }
})

type LoadConfig = (env: Record<string, string>) => object

/** How a program reads its environment: what its process does first. */
async function configOf(program: string): Promise<LoadConfig> {
  const { loadConfig } = (await import(`../../${program}/src/config.ts`)) as { loadConfig: LoadConfig }
  return loadConfig
}

type Manifest = { dependencies?: Record<string, string> }

async function manifestOf(workspace: string): Promise<Manifest> {
  return JSON.parse(await readFile(join(root, workspace, 'package.json'), 'utf8')) as Manifest
}
