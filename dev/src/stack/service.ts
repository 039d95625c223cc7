import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { freePort } from '../processes/freePort.ts'
import { readyWhenHttpOk } from '../processes/ready.ts'
import { type RunningProcess, startProcess } from '../processes/startProcess.ts'

export type ServiceName = 'gateway' | 'paymaster' | 'settlement' | 'sentinel'

export type ServiceOptions = {
  /** The service's configuration, see its config.ts. HOST and PORT are added. */
  env: Record<string, string>
  /** Where its log goes, as `<name>.log`. */
  logDirectory: string
  /** Free by default. */
  port?: number
  /** What it is called in messages and its log; the service's name by default. */
  label?: string
}

export type Service = {
  url: string
  process: RunningProcess
  /** SIGTERM: the service finishes what it is at. */
  stop(): Promise<void>
}

const root = fileURLToPath(new URL('../../../', import.meta.url))

/** Of a run of all tests: the services as `compileServices` made them. Without it they are started from their sources. */
export const compiledServicesVariable = 'STREAM_COMPILED_SERVICES'

/** Starts one of our services as a process of its own and waits until GET /ready says yes. */
export async function startService(name: ServiceName, options: ServiceOptions): Promise<Service> {
  const port = options.port ?? (await freePort())
  const label = options.label ?? name
  const url = `http://127.0.0.1:${port}`
  const process_ = await startProcess({
    name: label,
    command: process.execPath,
    args: programOf(name),
    env: { NODE_ENV: 'development', ...options.env, HOST: '127.0.0.1', PORT: `${port}` },
    cwd: root,
    logFile: join(options.logDirectory, `${label}.log`),
    ready: readyWhenHttpOk(`${url}/ready`),
    timeoutMs: 120_000,
    stopTimeoutMs: 15_000,
  })
  return { url, process: process_, stop: process_.stop }
}

function programOf(name: ServiceName): string[] {
  const compiled = process.env[compiledServicesVariable]
  if (compiled) return ['--enable-source-maps', join(compiled, name, 'src', 'main.js')]
  return ['--import', import.meta.resolve('tsx'), join(root, name, 'src', 'main.ts')]
}
