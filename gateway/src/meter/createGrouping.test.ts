import { setTimeout as delay } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { createGrouping } from './createGrouping.ts'

/** A store that answers when it is told to. */
function createStore() {
  const groups: { names: string[]; answer(): unknown }[] = []
  let current: (typeof groups)[number] | undefined
  let release: (() => void)[] = []
  return {
    groups,
    command:
      (name: string, fails = false) =>
      () => {
        if (!current) {
          const resolves: (() => void)[] = []
          release = resolves
          current = { names: [], answer: () => resolves.splice(0).map((resolve) => resolve()) }
          groups.push(current)
          setImmediate(() => {
            current = undefined
          })
        }
        current.names.push(name)
        const mine = release
        return new Promise<string>((resolve, reject) => {
          mine.push(() => (fails ? reject(new Error(name)) : resolve(name)))
        })
      },
  }
}

test('what is given in one turn goes at once, what comes while enough is under way goes together after it', async () => {
  const store = createStore()
  const group = createGrouping(2)
  const answers = ['a', 'b', 'c'].map((name) => group(store.command(name)))
  await delay(5)
  answers.push(group(store.command('d')))
  await delay(5)
  answers.push(...['e', 'f', 'g'].map((name) => group(store.command(name))))
  await delay(5)
  expect(store.groups.map(({ names }) => names)).toEqual([['a', 'b', 'c'], ['d']])
  store.groups[1]?.answer()
  await expect.poll(() => store.groups.map(({ names }) => names)).toEqual([['a', 'b', 'c'], ['d'], ['e', 'f', 'g']])
  for (const { answer } of store.groups) answer()
  expect(await Promise.all(answers)).toEqual(['a', 'b', 'c', 'd', 'e', 'f', 'g'])
})

test('a command that fails, at once or later, tells its caller alone and holds nobody up', async () => {
  const store = createStore()
  const group = createGrouping(1)
  const first = group(store.command('first', true))
  await delay(5)
  const waiting = ['second', 'third'].map((name) => group(store.command(name)))
  const thrown = group(() => {
    throw new Error('thrown')
  })
  store.groups[0]?.answer()
  await expect(first).rejects.toThrow('first')
  await expect(thrown).rejects.toThrow('thrown')
  store.groups[1]?.answer()
  expect(await Promise.all(waiting)).toEqual(['second', 'third'])
  await delay(5)
  const last = group(store.command('last'))
  store.groups[2]?.answer()
  expect(await last).toBe('last')
})

test('a burst goes in groups of a bounded size, in its order', async () => {
  const sent: string[][] = []
  const answers: (() => void)[] = []
  const group = createGrouping(1, 3)
  const command = (name: string) => () => {
    const last = sent.at(-1)
    if (last && answers.length > 0) last.push(name)
    else sent.push([name])
    return new Promise<string>((resolve) => answers.push(() => resolve(name)))
  }
  const names = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h']
  const all = Promise.all(names.map((name) => group(command(name))))
  for (let groups = 1; groups <= 3; groups += 1) {
    await expect.poll(() => sent.length).toBe(groups)
    await new Promise((resolve) => setImmediate(resolve))
    for (const answer of answers.splice(0)) answer()
  }
  expect(await all).toEqual(names)
  expect(sent).toEqual([
    ['a', 'b', 'c'],
    ['d', 'e', 'f'],
    ['g', 'h'],
  ])
})
