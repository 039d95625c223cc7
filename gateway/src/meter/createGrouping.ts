/** Runs a command now, or together with others as soon as some of those under way have ended. */
export type Grouping = <answer>(command: () => Promise<answer>) => Promise<answer>

/**
 * Lets commands of a busy store wait for each other, so that they travel together. What is given within one turn of the event
 * loop is a group, which the client makes one write of; while `maxGroups` are under way, what comes is sent when one has
 * ended. Alone a command waits for nothing. Under load it waits for a round trip at most, and both sides read and write a
 * fraction as often. A command that fails or runs out of time ends its group like any other. A group is not larger than
 * `maxPerGroup`: its last answer must be here before the first runs out of time, also on a slow machine.
 */
export function createGrouping(maxGroups = 2, maxPerGroup = 100): Grouping {
  let underWay = 0
  /** Of this turn of the event loop, with room for more. */
  let open: Promise<unknown>[] | undefined
  const waiting: (() => Promise<unknown>)[] = []

  function begin(): Promise<unknown>[] {
    underWay += 1
    const group: Promise<unknown>[] = []
    open = group
    setImmediate(() => {
      if (open === group) open = undefined
      void Promise.allSettled(group).then(() => {
        underWay -= 1
        if (waiting.length === 0) return
        const followers = open ?? begin()
        for (const start of waiting.splice(0, maxPerGroup - followers.length)) join(followers, start())
      })
    })
    return group
  }

  function join(group: Promise<unknown>[], answer: Promise<unknown>) {
    group.push(answer)
    if (group.length >= maxPerGroup && open === group) open = undefined
  }

  return (command) => {
    if (!open && underWay >= maxGroups) {
      return new Promise((resolve, reject) => {
        waiting.push(() => run(command).then(resolve, reject))
      })
    }
    const group = open ?? begin()
    const answer = run(command)
    join(group, answer)
    return answer
  }
}

/** One that throws at once fails like one that fails later. */
async function run<answer>(command: () => Promise<answer>): Promise<answer> {
  return command()
}
