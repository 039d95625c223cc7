import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cp, mkdtemp, rm } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import type { Merchant, StartMerchant } from './behaviour.ts'

const app = fileURLToPath(new URL('../nextApp/', import.meta.url))
/** Built along, so that what the documents show is a route of a real server too. */
const example = fileURLToPath(new URL('../../../examples/next/app/', import.meta.url))
const next = createRequire(import.meta.url).resolve('next/dist/bin/next')

/** A real Next.js server: built for production in a folder of its own beside the application, and started. */
export async function buildNext(): Promise<{ start: StartMerchant; remove(): Promise<void> }> {
  const folder = await mkdtemp(fileURLToPath(new URL('../.next-', import.meta.url)))
  const remove = () => rm(folder, { recursive: true, force: true, maxRetries: 5 })
  try {
    await cp(app, folder, { recursive: true })
    await cp(example, join(folder, 'app'), { recursive: true })
    const build = run(folder, {}, 'build')
    const said = Promise.all([build.stdout && text(build.stdout), build.stderr && text(build.stderr)])
    const [code] = await once(build, 'exit')
    if (code !== 0) throw new Error(`next build ended with ${code}:\n${(await said).join('\n')}`)
    await said
  } catch (error) {
    await remove()
    throw error
  }
  return { remove, start: (options) => start(folder, options) }
}

async function start(
  folder: string,
  { gatewayUrl, controlUrl }: { gatewayUrl: string; controlUrl: string },
): Promise<Merchant> {
  const env = { GATEWAY_URL: gatewayUrl, CONTROL_URL: controlUrl, API_KEY: 'test-key' }
  const server = run(folder, env, 'start', '--hostname', '127.0.0.1', '--port', '0')
  const close = async () => {
    if (server.exitCode !== null || server.signalCode !== null) return
    const ended = once(server, 'exit')
    server.kill('SIGKILL')
    await ended
  }
  const url = await new Promise<string>((resolve, reject) => {
    if (!server.stdout) return reject(new Error('next has no output'))
    let said = ''
    const lines = createInterface(server.stdout)
    lines.on('line', (line) => {
      said += `${line}\n`
      const [found] = /http:\/\/127\.0\.0\.1:[1-9]\d*/.exec(line) ?? []
      if (found) resolve(found)
    })
    server.once('exit', (code) => reject(new Error(`next start ended with ${code}:\n${said}`)))
  })
  return { url, close }
}

function run(folder: string, env: Record<string, string>, ...args: string[]): ChildProcess {
  const child = spawn(process.execPath, [next, ...args], {
    cwd: folder,
    // biome-ignore lint/style/noProcessEnv: programs are found where the test finds them
    env: { PATH: process.env.PATH, HOME: folder, NEXT_TELEMETRY_DISABLED: '1', NODE_ENV: 'production', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  if (args[0] === 'start') child.stderr?.resume()
  return child
}
