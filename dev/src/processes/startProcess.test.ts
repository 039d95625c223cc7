import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createTempDir, type TempDir } from './createTempDir.ts'
import { readyWhenLogged } from './ready.ts'
import { startProcess } from './startProcess.ts'

let directory: TempDir
beforeAll(async () => {
  directory = await createTempDir('process-test')
})
afterAll(() => directory.remove())

/** Runs a shell script as a child of ours; it is ready when it has said so. */
function startShell(script: string, options: { timeoutMs?: number; stopTimeoutMs?: number } = {}) {
  const logFile = join(directory.path, `${crypto.randomUUID()}.log`)
  return startProcess({
    name: 'Shell',
    command: '/bin/sh',
    args: ['-c', script],
    logFile,
    ready: readyWhenLogged('ready'),
    ...options,
  })
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

async function waitUntil(condition: () => boolean, timeoutMs = 60_000): Promise<void> {
  const startedAt = performance.now()
  while (!condition()) {
    if (performance.now() - startedAt > timeoutMs) throw new Error(`Still not so after ${timeoutMs} ms.`)
    await sleep(20)
  }
}

test('stop() ends the program and what it started', async () => {
  const shell = await startShell('sleep 1000 & echo child $! ready; wait')
  const child = Number(/child (\d+)/.exec(await readFile(shell.logFile, 'utf8'))?.[1])
  expect(isAlive(child)).toBe(true)

  await shell.stop()
  await waitUntil(() => !isAlive(child) && !isAlive(shell.pid))
})

test('a program that ignores SIGTERM is killed after the time it was given', async () => {
  const shell = await startShell("trap '' TERM; echo ready; while :; do sleep 1; done", { stopTimeoutMs: 200 })
  await shell.stop()
  expect(await shell.exited).toEqual({ code: null, signal: 'SIGKILL' })
})

test('a program that ends before it is ready is an error with its exit code and last words', async () => {
  await expect(startShell('echo cannot open the thing >&2; exit 3')).rejects.toThrow(
    /Shell ended with code 3 before it was ready\.[\s\S]*cannot open the thing/,
  )
})

test('a program that is not ready in time is an error, and is gone', async () => {
  const pidFile = join(directory.path, 'slow.pid')
  await expect(startShell(`echo $$ > ${pidFile}; sleep 1000`, { timeoutMs: 3_000 })).rejects.toThrow('not ready after')
  expect(isAlive(Number(await readFile(pidFile, 'utf8')))).toBe(false)
})

test('a program that cannot be run is an error that names it', async () => {
  const logFile = join(directory.path, 'none.log')
  const options = { name: 'Nothing', command: '/no/such/program', args: [], logFile, ready: async () => true }
  await expect(startProcess(options)).rejects.toThrow(/Nothing could not be run\.\nProgram: \/no\/such\/program/)
})

test('the program sees the environment it was given and not ours', async () => {
  process.env.SECRET_OF_THE_PARENT = 'leaked'
  const shell = await startShell('env; echo ready; sleep 1000')
  delete process.env.SECRET_OF_THE_PARENT
  const seen = await readFile(shell.logFile, 'utf8')
  await shell.stop()
  expect(seen).toContain('PATH=')
  expect(seen).not.toContain('leaked')
})

test.each([
  ['is killed by SIGKILL', 'SIGKILL', ''],
  ['gets Ctrl-C', 'SIGINT', ''],
  ['throws an error nobody catches', undefined, "setTimeout(() => { throw new Error('on purpose') }, 50)"],
  ['exits', undefined, 'setTimeout(() => process.exit(0), 50)'],
] as const)('nothing is left when the parent %s', async (_, signal, code) => {
  const folder = join(directory.path, crypto.randomUUID())
  await mkdir(folder)
  const program = `
    import { createTempDir } from '${new URL('createTempDir.ts', import.meta.url)}'
    import { readyWhenLogged } from '${new URL('ready.ts', import.meta.url)}'
    import { startProcess } from '${new URL('startProcess.ts', import.meta.url)}'
    import { renameSync, writeFileSync } from 'node:fs'
    const { path } = await createTempDir('orphan-test')
    const shell = await startProcess({
      name: 'Shell',
      command: '/bin/sh',
      args: ['-c', 'sleep 1000 & echo child $! ready; wait'],
      logFile: path + '/log',
      ready: readyWhenLogged('ready'),
    })
    writeFileSync('${folder}/unfinished', JSON.stringify({ pid: shell.pid, path }))
    renameSync('${folder}/unfinished', '${folder}/started')
    ${code}
  `
  await writeFile(join(folder, 'parent.mts'), program)
  const parent = spawn(process.execPath, ['--import', import.meta.resolve('tsx'), join(folder, 'parent.mts')], {
    stdio: 'ignore',
  })
  const parentExited = new Promise((resolve) => parent.once('exit', resolve))
  await waitUntil(() => existsSync(join(folder, 'started')))
  const { pid, path } = JSON.parse(await readFile(join(folder, 'started'), 'utf8')) as { pid: number; path: string }

  if (signal) parent.kill(signal)
  await parentExited
  await waitUntil(() => !isAlive(pid) && !existsSync(path))
})
