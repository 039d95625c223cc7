import { readFile } from 'node:fs/promises'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { listFiles } from './testing/listFiles.ts'

// What the documents say about the repository is true.

const root = fileURLToPath(new URL('../../', import.meta.url))
const files = await listFiles(root)
const folders = new Set(files.flatMap(foldersOf))
const documents = await readDocuments()

test('every relative link of a document leads to a file, and its anchor to a heading', async () => {
  const broken: string[] = []
  for (const { path, text } of documents) {
    for (const target of linksOf(text)) {
      const [place = '', anchor] = target.split('#')
      const file = place === '' ? path : relative(root, join(root, dirname(path), decodeURI(place)))
      const exists = has(file)
      const heading = exists && anchor && file.endsWith('.md') ? await hasAnchor(file, anchor) : true
      if (!exists || !heading) broken.push(`${path}: ${target}`)
    }
  }
  expect(broken).toEqual([])
})

test('every path that a document cites exists', () => {
  const missing = documents.flatMap(({ path, text }) =>
    pathsOf(text)
      .filter((cited) => isPath(path, cited) && !findCited(path, cited))
      .map((cited) => `${path}: ${cited}`),
  )
  expect(missing).toEqual([])
})

test('every npm script that a document names is in the package.json that it means', async () => {
  const named = documents.flatMap(({ path, text }) =>
    [...text.matchAll(/\bnpm (?:run (?:--silent )?([a-z][\w:-]*)|(start|test)\b)(?: -w ([\w-]+))?/g)].map(
      ([, run, short, workspace = '.']) => ({ path, script: run ?? short ?? '', workspace }),
    ),
  )
  expect(named.filter(({ path }) => path === 'README.md').map(({ script }) => script)).toContain('demo')
  const missing: string[] = []
  for (const { path, script, workspace } of named) {
    const { scripts = {} } = JSON.parse(await readFile(join(root, workspace, 'package.json'), 'utf8'))
    if (!(script in scripts)) missing.push(`${path}: npm run ${script} in ${workspace}/package.json`)
  }
  expect(missing).toEqual([])
})

test('every workspace has a README, and the root README names each', async () => {
  const { workspaces } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as { workspaces: string[] }
  const readme = await readFile(join(root, 'README.md'), 'utf8')
  expect(workspaces.filter((name) => !has(`${name}/README.md`))).toEqual([])
  expect(workspaces.filter((name) => !readme.includes(`](${name})`))).toEqual([])
})

type Document = { path: string; text: string }

/** The README of the root and of each package, and all of docs/. */
async function readDocuments(): Promise<Document[]> {
  const paths = files.filter((path) => /^([\w-]+\/)?README\.md$|^docs\/.*\.md$/.test(path))
  return Promise.all(paths.map(async (path) => ({ path, text: await readFile(join(root, path), 'utf8') })))
}

function foldersOf(path: string): string[] {
  const parts = path.split('/').slice(0, -1)
  return parts.map((_, index) => parts.slice(0, index + 1).join('/'))
}

function has(path: string): boolean {
  const bare = path.replace(/\/$/, '')
  return files.includes(bare) || folders.has(bare)
}

/** Targets of Markdown links, without those to other sites. */
function linksOf(text: string): string[] {
  return [...withoutCodeBlocks(text).matchAll(/\]\(([^)\s]+)\)/g)].flatMap(([, target]) =>
    target === undefined || /^[a-z]+:/.test(target) ? [] : [target],
  )
}

/** What stands in backticks and could be a path. */
function pathsOf(text: string): string[] {
  return [...withoutCodeBlocks(text).matchAll(/`([\w.-]+(?:\/[\w.-]+)*\/?)`/g)].flatMap(([, cited]) => cited ?? [])
}

function withoutCodeBlocks(text: string): string {
  return text.replace(/^```[\s\S]*?^```/gm, '')
}

/** A folder by its last slash, a source by its name's end, anything else by its first folder being one of ours. */
function isPath(document: string, cited: string): boolean {
  if (cited.endsWith('/') || /\.(ts|md|sol|sql|lua|cjs)$/.test(cited)) return true
  const [first = '', ...rest] = cited.split('/')
  return rest.length > 0 && basesOf(document).some((base) => folders.has(join(base, first)))
}

/** From the root, the document's folder or its src; a file without a folder from anywhere below. */
function findCited(document: string, cited: string): boolean {
  if (basesOf(document).some((base) => has(join(base, cited)))) return true
  const below = dirname(document) === 'docs' || dirname(document) === '.' ? '' : `${dirname(document)}/`
  return !cited.includes('/') && files.some((file) => file.startsWith(below) && file.endsWith(`/${cited}`))
}

function basesOf(document: string): string[] {
  const folder = dirname(document)
  return ['.', folder, join(folder, 'src')]
}

async function hasAnchor(file: string, anchor: string): Promise<boolean> {
  const text = await readFile(join(root, file), 'utf8')
  const slugs = [...text.matchAll(/^#+ (.*)$/gm)].map(([, heading = '']) =>
    heading
      .replace(/<[^>]*>/g, '')
      .trim()
      .toLowerCase()
      .replace(/[^\w\s-]/g, '')
      .replaceAll(' ', '-'),
  )
  return slugs.includes(anchor) || text.includes(`<a id="${anchor}"></a>`)
}
