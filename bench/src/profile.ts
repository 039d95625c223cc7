import { readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { createTempDir } from '@protocolbanks/stream-dev'
import { load } from './load.ts'
import { machine } from './machine.ts'
import { signPayments } from './scenario.ts'
import { startServer } from './startServer.ts'

// Where the server's time goes while it serves paid calls, by `node --cpu-prof`.

/** As `node --cpu-prof` writes it; times in microseconds. */
type Profile = {
  nodes: { id: number; callFrame: { functionName: string; url: string }; children?: number[] }[]
  samples: number[]
  timeDeltas: number[]
}

const connections = 64
const calls = 30_000
/** What counts is what happens in stretches of this length in which signatures are checked. */
const stretchUs = 50_000
const minChecks = 3

/** The first that fits a frame, from the inside of a stack to its outside. */
const areas: [area: string, url: RegExp][] = [
  ['voucher hash', /hashVoucher|keccak|wasm:/],
  ['journal and Postgres', /\/journal\/|drizzle|\/pg|postgres|parseUsageEntry/],
  ['header', /readPayment|readAsWritten/],
  ['Redis client', /ioredis|redis-parser|standard-as-callback|redisScripts/],
  ['meter and ledger', /\/meter\//],
  ['receipt', /internal\/crypto\/sig|createReceipt/],
  ['fingerprint', /fingerprint|internal\/crypto/],
  ['answers kept', /answerStore|lru-cache/],
  ['gate and middleware', /\/payment\/|\/grants\//],
  ['web Response, Headers, streams', /undici|webstreams|js_transferable/],
  ['HTTP and Hono', /_http|node:net|stream_base|node-server|hono/],
]
const checkArea = 'signature check'

/** Prints the table: each area's time as a multiple of the time in which signatures are checked, the yardstick. */
export async function benchProfile(): Promise<object> {
  const directory = await createTempDir('bench-profile')
  try {
    const server = await startServer(1, [`--cpu-prof`, `--cpu-prof-dir=${directory.path}`])
    const headers = signPayments(server.service, 0, calls)
    try {
      await load({ url: `${server.url}/paid`, connections, amount: calls, headers })
    } finally {
      await server.stop()
    }
    const times = divide(await readProfile(directory.path))
    const check = times.get(checkArea) ?? 0
    if (check === 0) throw new Error('The profile has no check of a signature.')
    const total = [...times.values()].reduce((sum, time) => sum + time, 0)
    const results = [...times]
      .sort(([, left], [, right]) => right - left)
      .map(([area, time]) => ({
        area,
        percent: Number(((100 * time) / total).toFixed(1)),
        checks: Number((time / check).toFixed(2)),
      }))
    const checks = Number((total / check).toFixed(2))
    console.log(`\n${machine()}\na paid call takes as long as ${checks} checks of a signature\n`)
    console.table(results)
    return { machine: machine(), checks, results }
  } finally {
    await directory.remove()
  }
}

/** The largest: other threads write theirs beside it. */
async function readProfile(directory: string): Promise<Profile> {
  const files = await Promise.all(
    (await readdir(directory)).map(async (name) => ({ name, size: (await stat(join(directory, name))).size })),
  )
  const [largest] = files.sort((left, right) => right.size - left.size)
  if (!largest) throw new Error('The server wrote no profile.')
  return JSON.parse(await readFile(join(directory, largest.name), 'utf8'))
}

function divide({ nodes, samples, timeDeltas }: Profile): Map<string, number> {
  const frames = new Map(nodes.map((node) => [node.id, node.callFrame]))
  const parents = new Map(nodes.flatMap(({ id, children = [] }) => children.map((child) => [child, id] as const)))
  const known = new Map<number, string>()
  const areaOf = (sample: number): string => {
    const found = known.get(sample) ?? search(sample)
    known.set(sample, found)
    return found
  }
  const search = (sample: number): string => {
    const name = frames.get(sample)?.functionName
    if (name === '(idle)' || name === '(garbage collector)' || name === '(program)') return name
    for (let id: number | undefined = sample; id !== undefined; id = parents.get(id)) {
      const frame = frames.get(id)
      if (frame?.functionName === 'ecdsaVerify') return checkArea
      const area = areas.find(([, url]) => url.test(frame?.url ?? ''))
      if (area) return area[0]
    }
    return 'other'
  }

  const stretches = new Map<number, { checks: number; times: Map<string, number> }>()
  let atUs = 0
  for (const [index, sample] of samples.entries()) {
    const time = timeDeltas[index] ?? 0
    atUs += time
    const area = areaOf(sample)
    if (area === '(idle)') continue
    const at = Math.floor(atUs / stretchUs)
    const stretch = stretches.get(at) ?? { checks: 0, times: new Map<string, number>() }
    stretches.set(at, stretch)
    if (area === checkArea) stretch.checks += 1
    stretch.times.set(area, (stretch.times.get(area) ?? 0) + time)
  }
  const times = new Map<string, number>()
  for (const stretch of stretches.values()) {
    if (stretch.checks < minChecks) continue
    for (const [area, time] of stretch.times) times.set(area, (times.get(area) ?? 0) + time)
  }
  return times
}
