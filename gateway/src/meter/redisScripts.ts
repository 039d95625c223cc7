import { readFileSync } from 'node:fs'
import type { Cluster, Redis } from 'ioredis'

/** The Lua of the meter, each one round trip and one atomic step. What they take is said at the top of each file. */
export type RedisScripts = {
  charge(keys: ChargeKeys, args: ChargeArguments): Promise<unknown>
  capture(keys: ChargeKeys, args: CaptureArguments): Promise<unknown>
  adopt(
    keys: [request: string, marks: string],
    args: [from: string, instance: string, markTtlMs: number],
  ): Promise<unknown>
  announce(keys: [marks: string], args: [instance: string, markMs: number | '']): Promise<unknown>
  begin(keys: [marks: string], args: [generation: number]): Promise<unknown>
  readUsage(keys: [marks: string, usage: string], args: [limit: number, markTtlMs: number]): Promise<unknown>
  read(keys: [grant: string, account: string]): Promise<unknown>
  refuse(keys: [grant: string]): Promise<unknown>
  /** Account and exposure first, then a key for each grant. */
  mirror(
    keys: [account: string, exposure: string, ...grants: string[]],
    args: [state: string, endedRetentionMs: number],
  ): Promise<unknown>
  readBudget(keys: [exposure: string], args: [field: string]): Promise<unknown>
  lowerBudget(keys: [exposure: string], args: [field: string, policy: number, target: string]): Promise<unknown>
  raiseBudget(keys: [exposure: string], args: [field: string, version: number, budget: string]): Promise<unknown>
  confirmBudget(keys: [exposure: string], args: [field: string, version: number]): Promise<unknown>
}

/** All in one hash slot. */
export type ChargeKeys = [
  grant: string,
  account: string,
  request: string,
  marks: string,
  usage: string,
  exposure: string,
]

export type ChargeArguments = [
  nowSeconds: number,
  minute: number,
  amount: string,
  /** At most `maxMeterAmount`. */
  cumulativeAmount: string,
  rawCumulativeAmount: string,
  signature: string,
  fingerprint: string,
  maxAmountPerCall: string,
  /** See charge.lua. */
  windows: string,
  settlementMarginSeconds: number,
  payee: string,
  service: string,
  instance: string,
  attempt: number,
  since: number,
  markTtlMs: number,
  requestRetentionMs: number,
  maxStreamLength: number,
  use: string,
  /** See charge.lua. */
  credit: string,
  generation: number | '',
]

export type CaptureArguments = [
  payee: string,
  capturedAmount: string,
  instance: string,
  eventId: string,
  attempt: number | '',
]

/** Registers the scripts with a client, which then sends them by hash. */
export function defineRedisScripts(redis: Redis | Cluster): RedisScripts {
  for (const [name, { file, numberOfKeys }] of Object.entries(scripts)) {
    const lua = readFileSync(new URL(`./lua/${file}`, import.meta.url), 'utf8')
    // Keys are counted by the caller only where their number varies.
    redis.defineCommand(name, numberOfKeys === undefined ? { lua } : { lua, numberOfKeys })
  }
  // ioredis adds the commands to the client (and to its pipelines) when it runs, so its types cannot know them.
  const client = redis as unknown as ScriptCommands
  return {
    charge: (keys, args) => client.streamMeterCharge(...keys, ...args),
    capture: (keys, args) => client.streamMeterCapture(...keys, ...args),
    adopt: (keys, args) => client.streamMeterAdopt(...keys, ...args),
    announce: (keys, args) => client.streamMeterAnnounce(...keys, ...args),
    begin: (keys, args) => client.streamMeterBegin(...keys, ...args),
    readUsage: (keys, args) => client.streamMeterReadUsage(...keys, ...args),
    read: (keys) => client.streamMeterRead(...keys),
    refuse: (keys) => client.streamMeterRefuse(...keys),
    readBudget: (keys, args) => client.streamMeterReadBudget(...keys, ...args),
    lowerBudget: (keys, args) => client.streamMeterLowerBudget(...keys, ...args),
    raiseBudget: (keys, args) => client.streamMeterRaiseBudget(...keys, ...args),
    confirmBudget: (keys, args) => client.streamMeterConfirmBudget(...keys, ...args),
    async mirror(keys, args) {
      // A pipeline of its own: automatic pipelines find a cluster's node by the first argument, here the number of keys.
      const pipeline = redis.pipeline()
      const commands = pipeline as unknown as ScriptCommands
      void commands.streamMeterMirror(keys.length, ...keys, ...args)
      const [answer] = (await pipeline.exec()) ?? []
      const [error, result] = answer ?? [new Error('Redis answered nothing')]
      if (error) throw error
      return result
    },
  }
}

const scripts = {
  streamMeterCharge: { file: 'charge.lua', numberOfKeys: 6 },
  streamMeterCapture: { file: 'capture.lua', numberOfKeys: 6 },
  streamMeterAdopt: { file: 'adopt.lua', numberOfKeys: 2 },
  streamMeterAnnounce: { file: 'announce.lua', numberOfKeys: 1 },
  streamMeterBegin: { file: 'begin.lua', numberOfKeys: 1 },
  streamMeterReadUsage: { file: 'readUsage.lua', numberOfKeys: 2 },
  streamMeterRead: { file: 'read.lua', numberOfKeys: 2 },
  streamMeterRefuse: { file: 'refuse.lua', numberOfKeys: 1 },
  streamMeterReadBudget: { file: 'readBudget.lua', numberOfKeys: 1 },
  streamMeterLowerBudget: { file: 'lowerBudget.lua', numberOfKeys: 1 },
  streamMeterRaiseBudget: { file: 'raiseBudget.lua', numberOfKeys: 1 },
  streamMeterConfirmBudget: { file: 'confirmBudget.lua', numberOfKeys: 1 },
  streamMeterMirror: { file: 'mirror.lua', numberOfKeys: undefined },
} as const

type ScriptCommands = Record<keyof typeof scripts, (...args: (string | number)[]) => Promise<unknown>>
