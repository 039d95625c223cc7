import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const root = fileURLToPath(new URL('../../../', import.meta.url))

/**
 * The first TypeScript sample of a document as a module: what a reader copies is what a test runs.
 *
 * @example const { signIn } = await runDocumentSample<{ signIn: SignIn }>('docs/owners.md')
 */
export async function runDocumentSample<Exports>(path: string): Promise<Exports> {
  const [, contents] = /^```ts\n([\s\S]*?)^```/m.exec(await readFile(join(root, path), 'utf8')) ?? []
  if (contents === undefined) throw new Error(`${path} has no TypeScript sample.`)
  const { outputFiles } = await build({
    stdin: { contents, loader: 'ts', resolveDir: join(root, 'test') },
    bundle: true,
    write: false,
    format: 'esm',
    platform: 'node',
    logLevel: 'silent',
  })
  const code = outputFiles[0]?.contents ?? new Uint8Array()
  return (await import(`data:text/javascript;base64,${Buffer.from(code).toString('base64')}`)) as Exports
}
