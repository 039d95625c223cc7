import { formatTraceparent } from '@protocolbanks/stream-runtime'
import { expect, test } from 'vitest'
import { traceOfEvent } from './traceOfEvent.ts'

test('an event about a settlement carries the trace of the settlement', () => {
  const trace = traceOfEvent({ settlementId: 'stl_01981c4e5b7d7c8e9f3a6f0d2b4c1e55' })
  expect(trace && formatTraceparent(trace)).toBe('00-01981c4e5b7d7c8e9f3a6f0d2b4c1e55-9f3a6f0d2b4c1e55-00')
})

test.each([null, {}, 'stl_1', { settlementId: 'stl_1' }, { settlementId: 7 }, { grantId: '0x1' }])(
  'an event about %j belongs to no trace',
  (data) => expect(traceOfEvent(data)).toBeUndefined(),
)
