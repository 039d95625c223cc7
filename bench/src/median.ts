/** The middle one of each figure, so that one round which something disturbed decides nothing. */
export function median<figures extends Record<string, number>>(rounds: readonly figures[]): figures {
  const [first] = rounds
  if (!first) throw new Error('nothing was measured')
  const middle = (name: string) =>
    rounds.map((round) => round[name] ?? 0).sort((left, right) => left - right)[Math.floor(rounds.length / 2)] ?? 0
  return Object.fromEntries(Object.keys(first).map((name) => [name, middle(name)])) as figures
}
