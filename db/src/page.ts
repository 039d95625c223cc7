import { BaseError } from '@protocolbanks/stream-protocol'

/** Newest first. `nextCursor` is undefined on the last page. */
export type Page<T> = { items: T[]; nextCursor: string | undefined }

export type PageRequest = {
  /** `nextCursor` of the page before. */
  cursor?: string | undefined
  /** 1 to 200; 50 by default. */
  limit?: number | undefined
}

const maxLimit = 200

export function limitOf({ limit = 50 }: PageRequest): number {
  return Math.min(Math.max(1, Math.trunc(limit)), maxLimit)
}

/** Makes a page of up to `limit + 1` rows: the one too many only shows that there is more. */
export function toPage<T>(rows: T[], limit: number, cursorOf: (last: T) => string): Page<T> {
  const items = rows.slice(0, limit)
  const last = items.at(-1)
  return { items, nextCursor: rows.length > limit && last !== undefined ? cursorOf(last) : undefined }
}

/** Position in a list ordered by moment and then key, both descending. */
export type MomentCursor = { at: Date; key: string }

export function encodeCursor({ at, key }: MomentCursor): string {
  return Buffer.from(`${at.getTime()} ${key}`).toString('base64url')
}

/** @throws InvalidCursorError */
export function decodeCursor(cursor: string): MomentCursor {
  const match = /^(\d{1,15}) (.{1,300})$/.exec(Buffer.from(cursor, 'base64url').toString())
  if (!match?.[1] || !match[2]) throw new InvalidCursorError(cursor)
  return { at: new Date(Number(match[1])), key: match[2] }
}

export class InvalidCursorError extends BaseError {
  override readonly code = 'cursor.invalid'
  constructor(cursor: string) {
    super('The cursor is not valid.', {
      metaMessages: [`Cursor: ${cursor.slice(0, 80)}`, 'Pass `nextCursor` of the page before, unchanged, or none.'],
      docsPath: '/errors#cursor-invalid',
    })
  }
}
