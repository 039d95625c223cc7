import { execFile } from 'node:child_process'
import { access, constants, readFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { sponsorPaymasterAbi } from '@protocolbanks/stream-protocol/abi/sponsorPaymasterAbi'
import { toFunctionSignature } from 'viem'
import { beforeAll, describe, expect, test, vi } from 'vitest'
import { type ComposeFile, exampleEnv, readCompose } from './testing/composeFile.ts'

// Every command that a runbook gives an operator: the programs and files that it names are there, and pb understands it.

const root = fileURLToPath(new URL('../../', import.meta.url))
const execute = promisify(execFile)
const documents = ['docs/operations.md', 'docs/deployment.md', 'docs/deployments.md']
const commands = (await Promise.all(documents.map(commandsOf))).flat()

/** As far as it is used here; commander's. */
type Program = {
  commands: Program[]
  exitOverride(): Program
  configureOutput(output: { writeOut(): void; writeErr(): void }): Program
  parseAsync(argv: string[]): Promise<unknown>
}
type CreateProgram = (deps: { print(): void; clock(): number; exit(): void }) => Program
const cli = 'cli'
const { createProgram } = (await import(`../../${cli}/src/createProgram.ts`)) as { createProgram: CreateProgram }

let compose: ComposeFile
beforeAll(async () => {
  compose = (await readCompose(await exampleEnv())).file
})

const programs = [
  'cast',
  'cd',
  'cp',
  'curl',
  'docker',
  'echo',
  'export',
  'git',
  'npm',
  'npx',
  'ops/compose/make-secrets.sh',
]

test('a runbook calls only programs that an operator has', () => {
  expect(commands.length).toBeGreaterThan(40)
  const others = commands.filter(({ words: [first = ''] }) => !programs.includes(first) && !/^\w+=/.test(first))
  expect(others.map(({ line }) => line)).toEqual([])
})

const pb = commands.flatMap(({ line, words }) => {
  const at =
    words[0] === 'npx' && words[1] === 'pb' ? 2 : words.join(' ').startsWith('docker compose run --rm pb') ? 5 : 0
  return at > 0 ? [{ line, args: words.slice(at) }] : []
})

describe('pb understands', () => {
  test.each(pb)('$line', async ({ args }) => {
    vi.stubEnv('PB_URL', 'http://127.0.0.1:1')
    vi.stubEnv('PB_KEY', 'pb_a_key_of_the_operator')
    const program = createProgram({ print: () => {}, clock: Date.now, exit: () => {} })
    for (const one of [program, ...program.commands, ...program.commands.flatMap((two) => two.commands)]) {
      one.exitOverride().configureOutput({ writeOut: () => {}, writeErr: () => {} })
    }
    const outcome = await program.parseAsync(['node', 'pb', ...args]).then(
      () => 'done',
      (error: Error & { code?: string }) => error.code ?? error.message,
    )
    // Far enough to ask a gateway, which is not there.
    expect(outcome).toMatch(args.includes('--help') || args.length === 0 ? /^commander\.help/ : /cannot be reached/)
    vi.unstubAllEnvs()
  })
})

describe('the deployment has', () => {
  test.each(commands.filter(({ words }) => words[0] === 'docker' && words[1] === 'compose'))(
    '$line',
    async ({ words }) => {
      const rest = words.slice(2)
      while (rest[0] === '--file') await access(join(root, rest.splice(0, 2)[1] ?? ''))
      const [verb = '', ...others] = rest
      const flags: Record<string, string[]> = {
        build: [],
        exec: [],
        restart: [],
        rm: ['--stop', '--force'],
        run: ['--rm', '--user', '--env'],
        stop: [],
        up: ['--detach', '--wait', '--no-deps', '--force-recreate'],
      }
      expect(Object.keys(flags)).toContain(verb)
      while (others[0]?.startsWith('--')) {
        const flag = others.shift() ?? ''
        expect(flags[verb]).toContain(flag)
        if (['--user', '--env'].includes(flag)) others.shift()
      }
      const services = ['run', 'exec'].includes(verb) ? others.slice(0, 1) : others
      for (const service of services) expect(Object.keys(compose.services)).toContain(service)
      const [script = ''] = others.slice(1)
      if (script.startsWith('/script/')) await access(join(root, 'db', 'script', basename(script)), constants.X_OK)
    },
  )

  test('the volumes that are removed', async () => {
    const { name } = (await readCompose(await exampleEnv())).raw as { name: string }
    const removed = commands.filter(({ words }) => words.slice(0, 3).join(' ') === 'docker volume rm')
    const volumes = Object.keys(compose.volumes).map((volume) => `${name}_${volume}`)
    expect(removed).not.toEqual([])
    for (const { words } of removed) for (const volume of words.slice(3)) expect(volumes).toContain(volume)
  })
})

test('the contracts have the functions that cast is told to send', () => {
  const known = sponsorPaymasterAbi.flatMap((item) => (item.type === 'function' ? toFunctionSignature(item) : []))
  const sent = commands.flatMap(({ words }) => (words[0] === 'cast' && words[1] === 'send' ? (words[3] ?? []) : []))
  expect(sent.length).toBeGreaterThan(3)
  expect(sent.filter((signature) => !known.includes(signature))).toEqual([])
})

type Command = { line: string; words: string[] }

/** The lines of a document's sh blocks, put together where a line goes on, without comments, split as a shell does. */
async function commandsOf(document: string): Promise<Command[]> {
  const text = await readFile(join(root, document), 'utf8')
  const blocks = [...text.matchAll(/^ *```sh\n([\s\S]*?)^ *```/gm)].map(([, block = '']) => block)
  const lines = blocks.flatMap((block) => block.replace(/\\\n/g, ' ').split('\n'))
  const found = lines.map((line) => line.trim()).filter((line) => line !== '' && !line.startsWith('#'))
  // Within quotes it is a word like others.
  const parts = found.flatMap((line) => (line.includes("'") ? [line] : line.split(' && ')))
  return Promise.all(parts.map(async (line) => ({ line, words: await wordsOf(line) })))
}

/** What is between < and > stands for something of the operator's. Nothing is run but the shell's own printf. */
async function wordsOf(line: string): Promise<string[]> {
  const plain = line.replace(/<([^>]*)>/g, (_, name: string) => name.replaceAll(' ', '_')).replace(/\$\([^)]*\)/g, 'x')
  const quiet = plain.replace(/ >.*$/, '').replace(/\$(\w+)/g, '_$1')
  const { stdout } = await execute('bash', ['-c', `set -f; printf '%s\\0' ${quiet}`])
  return stdout.split('\0').slice(0, -1)
}
