import type { Deployment } from './deployment.ts'

/** The settings of gateway, settlement and paymaster that a deployment decides, by their names in the environment. */
export function serviceEnv({ chainId, contracts, entryPoint, entryPoint07, usdc }: Deployment): Record<string, string> {
  const { transaction } = contracts.sessionKeyValidator
  return {
    CHAIN_ID: String(chainId),
    ENTRY_POINT: entryPoint,
    SESSION_MODULE: contracts.sessionKeyValidator.address,
    TOKEN: usdc,
    SPONSOR_PAYMASTER: contracts.sponsorPaymaster.address,
    ACCOUNT_FACTORY: contracts.streamAccountFactory.address,
    ACCOUNT_DELEGATE: contracts.streamAccount7702Implementation.address,
    ...(entryPoint07 && contracts.sponsorPaymaster07
      ? { ENTRY_POINT_07: entryPoint07, SPONSOR_PAYMASTER_07: contracts.sponsorPaymaster07.address }
      : {}),
    ...(transaction && { START_BLOCK: String(transaction.block) }),
  }
}
