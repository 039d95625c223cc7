/** Answers whole numbers from 0 up to, not including, `below`. */
export type Dice = (below: number) => number

/** Mulberry32: the same seed gives the same rolls, so a failure can be had again. */
export function createDice(seed: number): Dice {
  let state = seed
  return (below) => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below
  }
}

/** A valid header, damaged in one of the ways in which headers are damaged or forged. Fits into an HTTP header always. */
export function mutateHeader(value: unknown, dice: Dice): string {
  const text = JSON.stringify(value)
  const header = toBase64(text)
  switch (dice(7)) {
    case 0:
      return flipBit(Buffer.from(text), dice).toString('base64')
    case 1:
      return header.slice(0, dice(header.length))
    case 2:
      return replaceCharacter(header, dice)
    case 3:
      return toBase64(text.slice(0, dice(text.length)))
    case 4:
      return toBase64(JSON.stringify(swapLeaves(value, dice)))
    case 5:
      return toBase64(JSON.stringify(dropOrRepeat(value, dice)))
    default:
      return toBase64(JSON.stringify(replaceLeaf(value, dice)))
  }
}

const oddValues: unknown[] = [
  null,
  true,
  0,
  -1,
  1e308,
  2 ** 53,
  '',
  '0',
  '-1',
  '1e9',
  '0x10',
  ' 10000',
  '010000',
  '\u0000',
  '٣',
  '9'.repeat(39),
  '9'.repeat(2_000),
  `0x${'f'.repeat(64)}`,
  `0x${'0'.repeat(130)}`,
  `0x${'F'.repeat(130)}`,
  (2n ** 53n).toString(),
  (2n ** 96n).toString(),
  (2n ** 128n - 1n).toString(),
  (2n ** 128n).toString(),
  [],
  {},
  ['a', ['b']],
  { __proto__: null, toString: 1 },
]

type Leaf = { holder: Record<string, unknown>; key: string }

function leavesOf(node: unknown): Leaf[] {
  if (typeof node !== 'object' || node === null) return []
  const holder = node as Record<string, unknown>
  return Object.keys(holder).flatMap((key) => {
    const below = leavesOf(holder[key])
    return below.length > 0 ? below : [{ holder, key }]
  })
}

function pick(copy: unknown, dice: Dice): Leaf {
  const leaves = leavesOf(copy)
  return leaves[dice(leaves.length)] ?? { holder: {}, key: '' }
}

function swapLeaves(value: unknown, dice: Dice): unknown {
  const copy = structuredClone(value)
  const [one, other] = [pick(copy, dice), pick(copy, dice)]
  const kept = one.holder[one.key]
  one.holder[one.key] = other.holder[other.key]
  other.holder[other.key] = kept
  return copy
}

function replaceLeaf(value: unknown, dice: Dice): unknown {
  const copy = structuredClone(value)
  const { holder, key } = pick(copy, dice)
  const old = holder[key]
  // Half of the time the value stays of its kind: only its last character is another.
  holder[key] =
    typeof old === 'string' && dice(2) === 0
      ? old.slice(0, -1) + 'abc012'.charAt(dice(6))
      : oddValues[dice(oddValues.length)]
  return copy
}

function dropOrRepeat(value: unknown, dice: Dice): unknown {
  const copy = structuredClone(value)
  const { holder, key } = pick(copy, dice)
  const old = holder[key]
  if (dice(2) === 0) delete holder[key]
  else holder[key] = [old, old]
  return copy
}

function flipBit(bytes: Buffer, dice: Dice): Buffer {
  const at = dice(bytes.length)
  bytes[at] = (bytes[at] ?? 0) ^ (1 << dice(8))
  return bytes
}

/** Any visible ASCII character: what an HTTP header may hold. */
function replaceCharacter(header: string, dice: Dice): string {
  const at = dice(header.length)
  return header.slice(0, at) + String.fromCharCode(33 + dice(94)) + header.slice(at + 1)
}

function toBase64(text: string): string {
  return Buffer.from(text).toString('base64')
}
