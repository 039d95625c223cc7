import type { Deployment } from './deployment.ts'

/** The settings of gateway, settlement and paymaster that a deployment decides, by their names in the environment. */
export function serviceEnv({ chainId, contracts, entryPoint, usdc }: Deployment): Record<string, string> {
  const { transaction } = contracts.sessionKeyValidator
  return {
    CHAIN_ID: String(chainId),
    ENTRY_POINT: entryPoint,
    SESSION_MODULE: contracts.sessionKeyValidator.address,
    TOKEN: usdc,
    SPONSOR_PAYMASTER: contracts.sponsorPaymaster.address,
    ACCOUNT_FACTORY: contracts.streamAccountFactory.address,
    ...(transaction && { START_BLOCK: String(transaction.block) }),
  }
}
