import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { createOpenTickets, type OpenTicket } from './openTickets.ts'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

/** A charge of a call, and how often it was said to stand. */
function ticketOf(merchantId = 'mer_1') {
  const seen = { served: 0 }
  const charge: OpenTicket['charge'] = {
    receipt: 'receipt',
    ticket: undefined,
    served: () => void seen.served++,
    broken: () => {},
    release: async () => true,
  }
  const call = { trace: undefined, service: undefined, ticket: undefined }
  return { seen, ticket: { merchantId, charge, call, amount: 1n, isByUse: false } as unknown as OpenTicket }
}

test('a charge of which nobody reports stands when its time is up, and not before', () => {
  const tickets = createOpenTickets(1_000)
  const { seen, ticket } = ticketOf()
  tickets.keep('a', ticket)
  vi.advanceTimersByTime(999)
  expect([tickets.has('a'), seen.served]).toEqual([true, 0])
  vi.advanceTimersByTime(1)
  expect([tickets.has('a'), seen.served]).toEqual([false, 1])
})

test('kept again its time begins anew, and what has no end stays', () => {
  const tickets = createOpenTickets(1_000)
  const { seen, ticket } = ticketOf()
  tickets.keep('a', ticket)
  vi.advanceTimersByTime(900)
  tickets.keep('a', ticket)
  vi.advanceTimersByTime(900)
  expect(tickets.has('a')).toBe(true)
  tickets.keep('a', ticket, 0)
  vi.advanceTimersByTime(1_000_000)
  expect([tickets.has('a'), seen.served]).toEqual([true, 0])
})

test('what is over is nobody’s, and its time does not end it again', () => {
  const tickets = createOpenTickets(1_000)
  const { seen, ticket } = ticketOf()
  tickets.keep('a', ticket)
  tickets.end('a')
  vi.advanceTimersByTime(10_000)
  expect([tickets.find('a', 'mer_1'), seen.served, vi.getTimerCount()]).toEqual([undefined, 0, 0])
})

test('the oldest is over where more are open than there may be', () => {
  const tickets = createOpenTickets(1_000, 2)
  const [first, second, third] = [ticketOf(), ticketOf(), ticketOf()]
  tickets.keep('first', first.ticket)
  tickets.keep('second', second.ticket)
  tickets.keep('third', third.ticket)
  expect(['first', 'second', 'third'].map(tickets.has)).toEqual([false, true, true])
  expect([first.seen.served, second.seen.served]).toEqual([1, 0])
})

test('a ticket is its merchant’s alone, and one that was cancelled before it was opened is used', () => {
  const tickets = createOpenTickets(1_000)
  tickets.keep('a', ticketOf('mer_1').ticket)
  tickets.cancel('b', 'mer_1')
  expect(tickets.find('a', 'mer_2')).toBeUndefined()
  expect(tickets.find('a', 'mer_1')).toBeDefined()
  expect([tickets.isUsed('a', 'mer_2'), tickets.isUsed('b', 'mer_1'), tickets.isUsed('b', 'mer_2')]).toEqual([
    true,
    true,
    false,
  ])
})
