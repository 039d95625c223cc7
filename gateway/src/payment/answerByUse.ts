import {
  amountOf,
  channelIdOf,
  type MeteredPricing,
  parseUnits,
  paymentUnitsHeader,
  type Usage,
} from '@protocolbanks/stream-protocol'
import type { Answer } from '../answers/answerStore.ts'
import { larger } from '../meter/larger.ts'
import type { Service } from '../services/serviceTable.ts'
import { maxBufferedBytes } from './bufferedBytes.ts'
import { measureUse } from './measureUse.ts'
import { type MeterableCharge, type MeteredOutcome, meterStream } from './meterStream.ts'
import type { ServedCharge } from './paymentGate.ts'
import { readStart } from './readStart.ts'

export type AnswerByUseOptions = {
  service: Service
  pricing: MeteredPricing
  /** Length of the request's body. */
  requestBytes: number
  /** When the work began, by `now`. */
  startedAtMs: number
  /** Milliseconds, monotonic. */
  now(): number
  onEnd(outcome: MeteredOutcome): void
  /** What is added to the answer, with the receipt as far as it is known. */
  toOwnHeaders(receipt: string): Record<string, string>
}

/** Longest JSON answer that is read whole, whether it says its length or not; a longer one is charged while it passes. */
const maxWholeBytes = 1024 * 1024
const defaultGraceMs = 10_000

/** Whether no meter is asked how much a payment is in the end: only what a meter charged can be captured. */
export function isMeterable(charge: ServedCharge): charge is MeterableCharge {
  const { capture, extend, rest, untilVoucher } = charge
  return capture !== undefined && extend !== undefined && rest !== undefined && untilVoucher !== undefined
}

/**
 * Charges an answer by what it used. Where it is complete before it is of use, or says itself how many units it cost, that is
 * known before its headers leave; another is charged while it passes, and its receipt tells what is held first.
 */
export async function answerByUse(
  response: Response,
  charge: MeterableCharge,
  options: AnswerByUseOptions,
): Promise<Response> {
  const { service, pricing, onEnd, toOwnHeaders } = options
  const units = response.headers.get(paymentUnitsHeader)
  const headers = [...response.headers].filter(([name]) => name !== paymentUnitsHeader) as [string, string][]
  const head: Pick<Answer, 'status' | 'headers'> = { status: response.status, headers }
  const contentType = response.headers.get('content-type')

  // Units are known before the body, which may be long.
  const isByUnit = pricing.kind === 'unit'
  const start =
    response.body !== null && isReadWhole(response.headers) ? await readStart(response.body, maxWholeBytes) : undefined
  const read = start && 'whole' in start ? start.whole : undefined
  const stream = start && 'stream' in start ? start.stream : response.body
  if (read === undefined && stream !== null && !isByUnit) {
    const body = meterStream(stream, {
      ...options,
      charge,
      channelId: channelIdOf(...channelOf(charge)),
      segment: service.price,
      graceMs: service.voucherGraceMs ?? defaultGraceMs,
      head,
      contentType,
      maxKeptBytes: maxBufferedBytes,
    })
    return respond(body, head, toOwnHeaders(charge.receipt))
  }
  const usage = isByUnit ? unitsOf(units) : measureWhole(read, contentType, options)
  const unmeasured = head.status >= 400 || (stream === null && !isByUnit) ? 0n : charge.held
  const used = usage ? amountOf(pricing, usage) : unmeasured
  // The client agreed to the price at most.
  const most = larger(charge.held, service.price)
  const captured = await charge.capture(used > most ? most : used)
  const isUnknown = usage === undefined && unmeasured > 0n
  const isShort = used > most || captured.short !== undefined
  onEnd(isUnknown ? 'unmeasured' : captured.late ? 'late' : isShort ? 'short' : 'captured')
  const own = toOwnHeaders(captured.receipt)
  if (stream !== null && read === undefined) return respond(passOn(stream, charge), head, own)
  const isKept = read === undefined || read.length <= maxBufferedBytes
  charge.served(isKept ? { ...head, body: read ?? null } : undefined)
  return respond(read ?? null, head, own)
}

/** JSON is complete before it is of use, so nobody waits longer when it is read whole, up to `maxWholeBytes`. */
function isReadWhole(headers: Headers): boolean {
  const length = headers.get('content-length')
  const isJson = headers.get('content-type')?.startsWith('application/json') === true
  return length === null ? isJson : Number(length) <= (isJson ? maxWholeBytes : maxBufferedBytes)
}

/** Undefined when the answer does not say, or says no number. */
function unitsOf(header: string | null): Usage | undefined {
  const microUnits = header === null ? undefined : parseUnits(header)
  return microUnits === undefined ? undefined : { microUnits }
}

/** Undefined when the answer does not say what is paid for. */
function measureWhole(
  body: Uint8Array | undefined,
  contentType: string | null,
  options: AnswerByUseOptions,
): Usage | undefined {
  const measure = measureUse({ ...options, contentType })
  for (let at = 0; body && at < body.length; ) at = measure.read(body, at).to
  return measure.isMeasured ? measure.usage() : undefined
}

/** How it ends decides as it does for a fixed price: what breaks off is served again without a charge. */
function passOn(stream: ReadableStream<Uint8Array>, charge: MeterableCharge): ReadableStream<Uint8Array> {
  const reader = stream.getReader()
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        try {
          const { done, value } = await reader.read()
          if (!done) return controller.enqueue(value)
          charge.served(undefined)
          controller.close()
        } catch (error) {
          charge.broken()
          controller.error(error)
        }
      },
      async cancel(reason) {
        charge.served(undefined)
        await reader.cancel(reason)
      },
    },
    { highWaterMark: 0 },
  )
}

function respond(
  body: ConstructorParameters<typeof Response>[0],
  { status, headers }: Pick<Answer, 'status' | 'headers'>,
  own: Record<string, string>,
): Response {
  const answer = new Response(body, { status, headers })
  for (const [name, value] of Object.entries(own)) answer.headers.set(name, value)
  return answer
}

function channelOf({ ticket }: MeterableCharge): Parameters<typeof channelIdOf> {
  if (!ticket) throw new Error('A charge that can be captured has a ticket.')
  return [ticket.grantId, ticket.payee]
}
