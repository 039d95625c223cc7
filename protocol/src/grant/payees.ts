import { StandardMerkleTree } from '@openzeppelin/merkle-tree'
import type { Address, Hex } from 'viem'
import { BaseError } from '../errors.ts'

/** More payees than this need another grant: a claim carries at most 32 proof elements, a tree this big has 10. */
export const maxPayees = 1024

/**
 * Root of OpenZeppelin's StandardMerkleTree over `[address]`. Of one payee it is the leaf,
 * `keccak256(bytes.concat(keccak256(abi.encode(payee))))`.
 *
 * @throws InvalidPayeesError
 */
export function payeeRootOf(payees: readonly Address[]): Hex {
  return treeOf(payees).root as Hex
}

/** Proof that `payee` is among `payees`; empty for a single payee. @throws InvalidPayeesError */
export function payeeProofOf(payees: readonly Address[], payee: Address): Hex[] {
  const index = payees.findIndex((other) => other.toLowerCase() === payee.toLowerCase())
  if (index < 0) throw new InvalidPayeesError(`${payee} is not one of the ${payees.length} payees.`)
  return treeOf(payees).getProof(index) as Hex[]
}

/** Whether the proof shows that a grant with this root may pay the payee. */
export function isPayee(root: Hex, payee: Address, proof: readonly Hex[]): boolean {
  return StandardMerkleTree.verify(root, ['address'], [payee], [...proof])
}

function treeOf(payees: readonly Address[]) {
  if (payees.length === 0 || payees.length > maxPayees) {
    throw new InvalidPayeesError(`There are ${payees.length}; a grant has 1 to ${maxPayees}.`)
  }
  if (new Set(payees.map((payee) => payee.toLowerCase())).size !== payees.length) {
    throw new InvalidPayeesError('One payee is listed twice.')
  }
  return StandardMerkleTree.of(
    payees.map((payee) => [payee]),
    ['address'],
  )
}

export class InvalidPayeesError extends BaseError {
  override readonly code = 'payees.invalid'
  constructor(reason: string) {
    super('The payees are not valid.', { metaMessages: [reason], docsPath: '/errors#payees-invalid' })
  }
}
