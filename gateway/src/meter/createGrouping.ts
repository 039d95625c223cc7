/** Runs a command now, or together with others as soon as some of those under way have ended. */
export type Grouping = <answer>(command: () => Promise<answer>) => Promise<answer>

/**
 * Lets commands of a busy store wait for each other, so that they travel together. What is given within one turn of the event
 * loop is a group, which the client makes one write of; while `maxGroups` are under way, what comes is sent when one has
 * ended. Alone a command waits for nothing. Under load it waits for a round trip at most, and both sides read and write a
 * fraction as often. A command that fails or runs out of time ends its group like any other.
 */
export function createGrouping(maxGroups = 2): Grouping {
  let underWay = 0
  /** Of this turn of the event loop. */
  let open: Promise<unknown>[] | undefined
  let waiting: (() => Promise<unknown>)[] = []

  function begin(): Promise<unknown>[] {
    underWay += 1
    const group: Promise<unknown>[] = []
    open = group
    setImmediate(() => {
      open = undefined
      void Promise.allSettled(group).then(() => {
        underWay -= 1
        if (waiting.length === 0) return
        const next = waiting
        waiting = []
        const followers = open ?? begin()
        for (const start of next) followers.push(start())
      })
    })
    return group
  }

  return (command) => {
    if (!open && underWay >= maxGroups) {
      return new Promise((resolve, reject) => {
        waiting.push(() => run(command).then(resolve, reject))
      })
    }
    const group = open ?? begin()
    const answer = run(command)
    group.push(answer)
    return answer
  }
}

/** One that throws at once fails like one that fails later. */
async function run<answer>(command: () => Promise<answer>): Promise<answer> {
  return command()
}
