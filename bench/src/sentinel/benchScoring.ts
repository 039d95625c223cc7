import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { createTempDir } from '@protocolbanks/stream-dev'
import { machine } from '../machine.ts'

const root = fileURLToPath(new URL('../../../', import.meta.url))

/** Rules and scoring on one core: `npm run throughput -w sentinel`, a process that can measure its memory as well. */
export async function benchScoring(): Promise<object> {
  const directory = await createTempDir('bench')
  try {
    const file = join(directory.path, 'throughput.json')
    const args = ['run', '--silent', 'throughput', '-w', 'sentinel', '--', '--json', file]
    const program = spawn('npm', args, { cwd: root, stdio: 'inherit' })
    const [code] = (await once(program, 'exit')) as [number | null]
    if (code !== 0) throw new Error(`The measurement ended with code ${code}.`)
    return { machine: machine(), throughput: JSON.parse(await readFile(file, 'utf8')) as unknown }
  } finally {
    await directory.remove()
  }
}
