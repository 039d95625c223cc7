import { bytesToHex, type Hex } from 'viem'
import { type HDAccount, mnemonicToAccount } from 'viem/accounts'

// Known to everybody and funded on every development chain: they must never hold real money.
const mnemonic = 'test test test test test test test test test test test junk'

export type DevAccount = { address: HDAccount['address']; privateKey: Hex; account: HDAccount }

/** Who is who on a development chain. */
export const devAccounts = {
  /** Deploys, owns and funds the paymaster. */
  operator: devAccount(0),
  /** Owns the example account. */
  owner: devAccount(1),
  /** The agent's session key. */
  agent: devAccount(2),
  /** Signs settlement's UserOperations. */
  settler: devAccount(3),
  /** Approves what the paymaster sponsors. */
  paymasterSigner: devAccount(4),
  /** Where the example merchant is paid. */
  payee: devAccount(5),
  guardian: devAccount(6),
  bundlerUtility: devAccount(7),
  bundlerExecutor: devAccount(8),
  bundlerExecutor2: devAccount(9),
  /** Pays the gas of payments by x402's `exact`. */
  relayer: devAccount(10),
}

function devAccount(addressIndex: number): DevAccount {
  const account = mnemonicToAccount(mnemonic, { addressIndex })
  const { privateKey } = account.getHdKey()
  if (!privateKey) throw new Error(`The account ${addressIndex} of the development mnemonic has no private key.`)
  return { address: account.address, privateKey: bytesToHex(privateKey), account }
}
