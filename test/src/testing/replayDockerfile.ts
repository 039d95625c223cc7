import { spawn } from 'node:child_process'
import { cp, mkdir, readFile, stat } from 'node:fs/promises'
import { basename, dirname, join, relative, resolve } from 'node:path'
import { readDockerfile, type Stage, type Step } from './dockerfile.ts'
import { readDockerignore } from './dockerignore.ts'

export type Replayed = {
  /** The last stage: what the image is made of. */
  image: Stage
  /** Its root file system, without what the base image has. */
  root: string
}

const runTimeoutMs = 600_000

/**
 * Builds a Dockerfile without a container engine: copies exactly what COPY names, as far as .dockerignore lets it through,
 * and runs the RUN lines where WORKDIR says, each stage in a folder of its own below `target`. What it does not have is
 * the base image and its isolation: commands see the programs of this machine, and of the paths in a command only relative
 * ones lead into the stage.
 *
 * @throws when a source is not there or a command fails, with its last lines
 */
export async function replayDockerfile(context: string, target: string): Promise<Replayed> {
  const stages = await readDockerfile(join(context, 'Dockerfile'))
  const isIgnored = readDockerignore(await readFile(join(context, '.dockerignore'), 'utf8'))
  /** Roots of the stages, of each once it is built. Those that need nothing of each other are built at once. */
  const roots = new Map<string, Promise<string>>()
  for (const [index, stage] of stages.entries()) {
    const name = stage.name ?? `${index}`
    roots.set(name, build(stage, { context, isIgnored, roots: new Map(roots), root: join(target, name) }))
  }
  // All come to an end before one that failed is told.
  await Promise.allSettled(roots.values())
  const image = stages.at(-1)
  const root = await [...roots.values()].at(-1)
  if (!image || root === undefined) throw new Error('The Dockerfile has no stage.')
  await Promise.all(roots.values())
  return { image, root }
}

async function build(stage: Stage, place: Omit<Place, 'folder'>): Promise<string> {
  let folder = '/'
  for (const step of stage.steps) {
    if (step.kind === 'workdir') folder = resolve(folder, step.path)
    await mkdir(join(place.root, folder), { recursive: true })
    if (step.kind === 'run') await runStep(step.command, join(place.root, folder))
    if (step.kind === 'copy') await copy(step, { ...place, folder })
  }
  return place.root
}

type Place = {
  root: string
  folder: string
  context: string
  roots: ReadonlyMap<string, Promise<string>>
  isIgnored: (path: string) => boolean
}

async function copy(step: Extract<Step, { kind: 'copy' }>, place: Place): Promise<void> {
  const { context, roots, isIgnored } = place
  const origin = step.from === undefined ? context : await roots.get(step.from)
  if (origin === undefined) throw new Error(`COPY --from=${step.from}: there is no such stage before.`)
  const target = join(place.root, resolve(place.folder, step.target))
  for (const source of step.sources) {
    const from = join(origin, source)
    const isFolder = (await stat(from)).isDirectory()
    // The content of a folder, or a file under its name where the target ends with a slash.
    const to = !isFolder && step.target.endsWith('/') ? join(target, basename(source)) : target
    const isLeftOut = (path: string) => step.from === undefined && isIgnored(relative(context, path))
    if (!isFolder && isLeftOut(from)) throw new Error(`COPY ${source}: .dockerignore keeps it out.`)
    await mkdir(dirname(to), { recursive: true })
    await cp(from, to, {
      recursive: true,
      verbatimSymlinks: true,
      // Folders are looked into all the same: what is below may be let through again.
      filter: async (path) => (await stat(path)).isDirectory() || !isLeftOut(path),
    })
  }
}

async function runStep(command: string, cwd: string): Promise<void> {
  const outside = command.match(/(?<=^|\s)\/\S*/g)
  if (outside)
    throw new Error(`RUN ${command}: ${outside.join(' ')} is outside of what is replayed; use relative paths.`)
  const child = spawn('/bin/sh', ['-c', command], { cwd, stdio: ['ignore', 'pipe', 'pipe'], timeout: runTimeoutMs })
  const lines: string[] = []
  const keep = (chunk: Buffer) => lines.push(...chunk.toString().split('\n'))
  child.stdout.on('data', keep)
  child.stderr.on('data', keep)
  const code = await new Promise<number | null>((done, fail) => {
    child.on('error', fail)
    child.on('close', done)
  })
  if (code !== 0) throw new Error(`RUN ${command} ended with ${code}:\n${lines.slice(-20).join('\n')}`)
}
