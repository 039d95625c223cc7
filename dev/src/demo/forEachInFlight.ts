/** Runs `task` for 0 to `count` - 1 with at most `inFlight` at once. The first failure ends it. */
export async function forEachInFlight(
  count: number,
  inFlight: number,
  task: (index: number) => Promise<void>,
): Promise<void> {
  let next = 0
  async function work() {
    while (next < count) await task(next++)
  }
  await Promise.all(Array.from({ length: Math.min(inFlight, count) }, work))
}
