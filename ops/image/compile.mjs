// Makes JavaScript of our TypeScript for the container image, so that Node runs it as it is: the same folders and files,
// `.js` for `.ts`, with source maps, and everything else (SQL, Lua) as it is. Without tests. Types are not checked here,
// `npm run types` does that.
//
//   node ops/image/compile.mjs TARGET FOLDER...

import { cp, mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import ts from 'typescript'

const [target, ...folders] = process.argv.slice(2)
if (!target || folders.length === 0) throw new Error('Call it so: node ops/image/compile.mjs TARGET FOLDER...')

const { config, error } = ts.readConfigFile('tsconfig.base.json', (path) => ts.sys.readFile(path))
if (error) throw new Error(`tsconfig.base.json cannot be read: ${error.messageText}`)
const { options } = ts.convertCompilerOptionsFromJson(config.compilerOptions, '.')
const compilerOptions = {
  ...options,
  composite: false,
  declaration: false,
  inlineSources: true,
  // Every package of ours is ESM; a file by itself does not say so.
  module: ts.ModuleKind.ESNext,
  moduleResolution: ts.ModuleResolutionKind.Bundler,
}

const left = /(^|\/)(node_modules|dist|testing|bin)(\/|$)|\.(test|d)\.ts$|\.tsbuildinfo$|(^|\/)tsconfig\.json$|\.md$/
for (const folder of folders) {
  const files = (await readdir(folder, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile())
  for (const entry of files) {
    const path = join(entry.parentPath, entry.name)
    if (!left.test(path)) await put(path)
  }
}

async function put(path) {
  await mkdir(join(target, dirname(path)), { recursive: true })
  if (path.endsWith('.ts')) return compile(path)
  if (!path.endsWith('/package.json')) return cp(path, join(target, path))
  // Its `exports` and `imports` name sources.
  const text = await readFile(path, 'utf8')
  return writeFile(join(target, path), text.replaceAll(/\.ts"/g, '.js"'))
}

async function compile(path) {
  const text = await readFile(path, 'utf8')
  const { outputText, sourceMapText, diagnostics } = ts.transpileModule(text, {
    compilerOptions,
    fileName: path,
    reportDiagnostics: true,
  })
  if (diagnostics?.length) throw new Error(ts.formatDiagnostics(diagnostics, diagnosticsHost))
  const script = path.replace(/\.ts$/, '.js')
  await writeFile(join(target, script), outputText)
  await writeFile(join(target, `${script}.map`), sourceMapText ?? '')
}

/** @type {import('typescript').FormatDiagnosticsHost} */
const diagnosticsHost = { getCurrentDirectory: () => '.', getCanonicalFileName: (name) => name, getNewLine: () => '\n' }
