import { execFile } from 'node:child_process'
import { mkdir, readdir, stat, symlink } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const root = fileURLToPath(new URL('../../', import.meta.url))
/** The server, and what of ours it imports. */
const packages = ['protocol', 'runtime', 'rules', 'bundler-client', 'db', 'gateway', 'bench']
const scope = '@protocolbanks'

/**
 * The server under load as an image has it (Dockerfile): JavaScript with its SQL and Lua beside it. With a loader of TypeScript every
 * function is given its name again each time it is made, an eighth of a paid call.
 *
 * @returns the path of its program, below `target`
 */
export async function compileServer(target: string): Promise<string> {
  await promisify(execFile)(process.execPath, ['ops/image/compile.mjs', target, ...packages], { cwd: root })
  const modules = join(target, 'node_modules')
  await mkdir(join(modules, scope), { recursive: true })
  for (const name of await readdir(join(root, 'node_modules'))) {
    if (name !== scope) await symlink(join(root, 'node_modules', name), join(modules, name))
  }
  for (const name of packages) {
    await symlink(join(target, name), join(modules, scope, `stream-${name}`))
    // What a package has in another version than the rest.
    const own = join(root, name, 'node_modules')
    if (await stat(own).catch(() => undefined)) await symlink(own, join(target, name, 'node_modules'))
  }
  return join(target, 'bench', 'src', 'server.js')
}
