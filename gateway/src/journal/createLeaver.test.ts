import { expect, test } from 'vitest'
import type { UsageEvent } from '../meter/meter.ts'
import { createLeaver } from './createLeaver.ts'

const eventOf = (eventId: string) => ({ eventId }) as UsageEvent
const events = ['own-1', 'other-1', 'own-2', 'other-2'].map(eventOf)

function arrange() {
  let nowMs = 0
  const leaver = createLeaver({ clock: () => nowMs, isOwn: (id) => id.startsWith('own') })
  return {
    take: (some: readonly UsageEvent[], partition = 3) => leaver.take(partition, some).map(({ eventId }) => eventId),
    pass(ms: number) {
      nowMs += ms
    },
  }
}

test('what this process charged is taken at once, and what others charged is left to them', () => {
  const { take } = arrange()
  expect(take(events)).toEqual(['own-1', 'own-2'])
  expect(take([eventOf('own-1')])).toEqual(['own-1'])
})

test('what nobody took within the patience is taken, and so is all else of that partition for a while', () => {
  const { take, pass } = arrange()
  take(events)
  pass(999)
  expect(take(events)).toEqual(['own-1', 'own-2'])
  pass(1)
  expect(take(events)).toHaveLength(4)
  expect(take([eventOf('other-3')])).toEqual(['other-3'])
  expect(take(events, 4)).toEqual(['own-1', 'own-2'])
  pass(10_000)
  expect(take([eventOf('other-4')])).toEqual([])
})

test('charges of others that come and go are never taken from them', () => {
  const { take, pass } = arrange()
  for (let turn = 0; turn < 20; turn++) {
    expect(take([eventOf(`other-${turn}`)])).toEqual([])
    pass(500)
  }
})
