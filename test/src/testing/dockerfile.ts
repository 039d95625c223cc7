import { readFile } from 'node:fs/promises'
import { type Copy, DockerfileParser, type Instruction } from 'dockerfile-ast'

/** One `FROM ... AS name` of a Dockerfile and what follows it. */
export type Stage = {
  /** Undefined for the last, which nobody names. */
  name: string | undefined
  base: string
  steps: Step[]
  /** ENV, put together. */
  env: Record<string, string>
  user: string | undefined
  entrypoint: string[]
  command: string[]
  healthcheck: string[]
  stopSignal: string | undefined
  ports: string[]
}

export type Step =
  | { kind: 'workdir'; path: string }
  | { kind: 'run'; command: string }
  | { kind: 'copy'; from: string | undefined; sources: string[]; target: string }

/** Instructions that change nothing of what is replayed here, or are read into the stage's own fields. */
const others = new Set(['ENV', 'USER', 'ENTRYPOINT', 'CMD', 'HEALTHCHECK', 'STOPSIGNAL', 'EXPOSE'])

/** @throws where the file has an instruction that this does not know */
export async function readDockerfile(path: string): Promise<Stage[]> {
  const dockerfile = DockerfileParser.parse(await readFile(path, 'utf8'))
  const stages: Stage[] = []
  for (const instruction of dockerfile.getInstructions()) {
    const keyword = instruction.getKeyword()
    if (keyword === 'FROM') {
      stages.push(emptyStage(instruction))
      continue
    }
    const stage = stages.at(-1)
    if (!stage) throw new Error(`${path}: ${keyword} stands before the first FROM.`)
    const step = stepOf(instruction)
    if (step) stage.steps.push(step)
    else if (others.has(keyword)) read(stage, instruction)
    else throw new Error(`${path}: ${keyword} is not understood here. Teach it to test/src/testing/dockerfile.ts.`)
  }
  return stages
}

function emptyStage(from: Instruction): Stage {
  const [base = '', , name] = wordsOf(from)
  const settings = { entrypoint: [], command: [], healthcheck: [], stopSignal: undefined, ports: [] }
  return { name, base, steps: [], env: {}, user: undefined, ...settings }
}

function stepOf(instruction: Instruction): Step | undefined {
  const text = instruction.getArgumentsContent() ?? ''
  switch (instruction.getKeyword()) {
    case 'WORKDIR':
      return { kind: 'workdir', path: text }
    case 'RUN':
      return { kind: 'run', command: text }
    case 'COPY': {
      const from = (instruction as Copy).getFromFlag()?.getValue() ?? undefined
      const words = wordsOf(instruction)
      return { kind: 'copy', from, sources: words.slice(0, -1), target: words.at(-1) ?? '' }
    }
    default:
      return undefined
  }
}

function read(stage: Stage, instruction: Instruction): void {
  const text = instruction.getArgumentsContent() ?? ''
  switch (instruction.getKeyword()) {
    case 'ENV':
      for (const word of wordsOf(instruction)) {
        const [name = '', value = ''] = word.split('=')
        stage.env[name] = value
      }
      break
    case 'USER':
      stage.user = text
      break
    case 'STOPSIGNAL':
      stage.stopSignal = text
      break
    case 'EXPOSE':
      stage.ports.push(...wordsOf(instruction))
      break
    case 'ENTRYPOINT':
      stage.entrypoint = list(instruction)
      break
    case 'CMD':
      stage.command = list(instruction)
      break
    case 'HEALTHCHECK':
      stage.healthcheck = list(instruction)
      break
  }
}

function wordsOf(instruction: Instruction): string[] {
  // Of COPY these are without its flags.
  const flags = /^--/
  return instruction
    .getArguments()
    .map((argument) => argument.getValue())
    .filter((word) => !flags.test(word))
}

/** The exec form alone: a shell would be process 1 otherwise, and get the signals. */
function list(instruction: Instruction): string[] {
  const [json] = /\[[^[]*\]$/.exec(instruction.getArgumentsContent() ?? '') ?? []
  if (!json) throw new Error(`${instruction.getKeyword()} is in shell form; write it as a JSON array.`)
  return JSON.parse(json) as string[]
}
