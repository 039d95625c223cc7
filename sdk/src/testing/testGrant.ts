import { type Address, type Hex, keccak256 } from 'viem'
import { generatePrivateKey, privateKeyToAddress } from 'viem/accounts'
import type { AgentGrant } from '../agent/grant.ts'

/** A grant and its session key, different for every call. */
export function createTestGrant(fields: Partial<AgentGrant> = {}): {
  grant: AgentGrant
  privateKey: Hex
  sessionKey: Address
} {
  const privateKey = generatePrivateKey()
  const address = () => privateKeyToAddress(generatePrivateKey())
  const grant: AgentGrant = {
    grantId: keccak256(privateKey),
    account: address(),
    chainId: 31_337,
    module: address(),
    token: address(),
    payees: [address()],
    ...fields,
  }
  return { grant, privateKey, sessionKey: privateKeyToAddress(privateKey) }
}
