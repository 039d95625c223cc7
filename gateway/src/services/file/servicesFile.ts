import { createHash } from 'node:crypto'
import { readFile, stat } from 'node:fs/promises'
import { setTimeout as delay } from 'node:timers/promises'
import {
  type AppliedServices,
  applyServicesFile,
  type Db,
  ServiceTakenError,
  withChangeContext,
} from '@protocolbanks/stream-db'
import { type Address, BaseError } from '@protocolbanks/stream-protocol'
import type { Logger } from 'pino'
import { parseServicesFile, type ServicesFileOptions } from './parseServicesFile.ts'

export type ServicesFileDeps = ServicesFileOptions & {
  path: string
  db: Db
  token: Address
  logger: Logger
  /** Services may have changed. */
  onApplied(): Promise<void>
  /** Whether the file as it is now could not be applied. */
  onState(isInvalid: boolean): void
  /** Between two looks at the file. */
  pollMs?: number | undefined
}

export type ServicesFile = {
  /** Makes the services of Postgres those of the file. @throws ServicesFileError, and what Postgres says */
  apply(): Promise<AppliedServices>
  /** `apply` when a gateway starts. What a merchant's service is in the way of is told, and tried again by `run`. */
  applyAtStart(): Promise<void>
  /** Applies the file again whenever it has changed, until it is stopped. While it cannot be applied, the last one counts. */
  run(signal: AbortSignal): Promise<void>
}

const maxFileBytes = 4 * 1024 * 1024

/** The services that an operator lists in a file. Postgres stays their authority: this makes it say what the file says. */
export function createServicesFile(deps: ServicesFileDeps): ServicesFile {
  const { path, db, token, logger, onState, pollMs = 2_000 } = deps
  /** What the file was when it was applied. */
  let applied = ''
  /** What it was at the last look. */
  let seen = ''
  let told = ''

  async function apply(): Promise<AppliedServices> {
    const version = await versionOf(path)
    const text = await readText(path)
    const parsed = parseServicesFile(text, deps)
    if (!parsed.ok) throw new ServicesFileError(path, parsed.problems)
    const { merchants } = parsed.file
    const sha256 = createHash('sha256').update(text).digest('hex')
    const context = { actor: 'services_file', requestId: `sha256:${sha256}` }
    try {
      const changes = await withChangeContext(context, () => applyServicesFile(db, { token, merchants }))
      applied = version
      logger.info({ path, sha256, ...changes }, 'the services file was applied')
      await deps.onApplied()
      return changes
    } catch (error) {
      if (!(error instanceof ServiceTakenError)) throw error
      throw new ServicesFileError(path, [placeOf(error)], error)
    }

    function placeOf({ taken, metaMessages: [reason = ''] }: ServiceTakenError): string {
      for (const [index, { services }] of merchants.entries()) {
        const at = services.findIndex(({ pathPrefix, name }) => pathPrefix === taken.pathPrefix || name === taken.name)
        if (at === -1) continue
        const field = taken.pathPrefix === undefined ? 'name' : 'pathPrefix'
        const line = parsed.ok ? parsed.lineOf(['merchants', index, 'services', at, field]) : 0
        return `line ${line}, merchants[${index}].services[${at}].${field}: ${reason}`
      }
      return reason
    }
  }

  /** One look: a file that is not what it was at the last one may still be written. What fails is told once. */
  async function look(): Promise<void> {
    try {
      const version = await versionOf(path)
      const isSettled = version === seen
      seen = version
      if (version !== applied && !isSettled) return
      if (version !== applied) await apply()
      if (told !== '') onState(false)
      told = ''
    } catch (error) {
      tell(error)
    }
  }

  function tell(error: unknown): void {
    onState(true)
    const message = messageOf(error)
    if (message !== told) logger.error({ err: error, path }, 'the services file was not applied; the last one counts')
    told = message
  }

  return {
    apply,
    async applyAtStart() {
      try {
        await apply()
      } catch (error) {
        // Or whoever has a merchant's key could keep every gateway from starting.
        if (!(error instanceof ServicesFileError && error.cause instanceof ServiceTakenError)) throw error
        tell(error)
      }
    },
    async run(signal) {
      while (!signal.aborted) {
        await delay(pollMs, undefined, { signal }).catch(() => undefined)
        if (!signal.aborted) await look()
      }
    },
  }
}

/** Another file, or another content, has another version. */
async function versionOf(path: string): Promise<string> {
  const { ino, size, mtimeMs } = await stat(path).catch((error: unknown) => {
    throw new ServicesFileError(path, [`It cannot be read: ${messageOf(error)}`], error)
  })
  return `${ino} ${size} ${mtimeMs}`
}

async function readText(path: string): Promise<string> {
  const { size } = await stat(path)
  if (size > maxFileBytes)
    throw new ServicesFileError(path, [`It has ${size} bytes, at most ${maxFileBytes} are read.`])
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(await readFile(path))
  } catch (error) {
    throw new ServicesFileError(path, [`It cannot be read: ${messageOf(error)}`], error)
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

export class ServicesFileError extends BaseError {
  override readonly code = 'services_file.invalid'
  constructor(path: string, problems: readonly string[], cause?: unknown) {
    super('The services file cannot be applied.', {
      cause,
      metaMessages: [`File: ${path}`, ...problems],
      docsPath: '/errors#services-file-invalid',
    })
  }
}
