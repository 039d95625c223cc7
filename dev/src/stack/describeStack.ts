import type { Budget } from '../story/grantBudget.ts'
import type { Merchant } from '../story/openMerchant.ts'
import type { Stack } from './stack.ts'

export type Example = {
  merchant: Merchant
  budget: Budget
  /** A command that pays for one call. */
  curl: string
}

/** Every address and key one needs to try a stack by hand. The keys are those every development chain has. */
export function describeStack(stack: Stack, { merchant, budget, curl }: Example): string {
  const { accounts, contracts } = stack
  const account = (name: keyof typeof accounts) => `${accounts[name].address}  key ${accounts[name].privateKey}`
  return `
Running on this machine, with nothing real in it:

  gateway      ${stack.gateway.url}
  paymaster    ${stack.paymaster.url}
  settlement   ${stack.settlement.url}
  sentinel     ${stack.sentinel?.url ?? 'none'}
  chain        ${stack.chain.url}  chain id ${stack.chain.chainId}
  bundler      ${stack.bundler.url}
  Postgres     ${stack.databaseUrl}
  Redis        ${stack.redis?.url ?? 'none: the meter is embedded in the gateway'}
  logs         ${stack.logDirectory}

  EntryPoint           ${stack.entryPoint}
  SessionKeyValidator  ${contracts.sessionKeyValidator}
  SponsorPaymaster     ${contracts.sponsorPaymaster}
  StreamAccountFactory ${contracts.streamAccountFactory}
  test USDC            ${contracts.testUsdc}

  account  ${budget.account} of owner ${budget.owner}
  payee    ${accounts.payee.address}
  settler  ${accounts.settler.address}
  guardian ${account('guardian')}

An agent has a budget of 50 USDC for ${merchant.serviceUrl}/<city>, 0.01 USDC a call:

  ${curl}

For a second terminal:

  export GATEWAY_URL=${stack.gateway.url}
  export RPC_URL=${stack.chain.url}
  export OPERATOR_API_KEY=${stack.operatorApiKey}
  export API_KEY=${merchant.apiKey}
  export SESSION_KEY=${budget.sessionKey}
  export GRANT='${grantJson(budget)}'
  npm run agent -w examples -- ${merchant.serviceUrl}/oslo
  curl -s $GATEWAY_URL/api/settlements -H "authorization: Bearer $API_KEY"

Ctrl-C stops everything.
`
}

/** The grant as the SDK's `parseGrant` reads it. */
function grantJson({ grant }: Budget): string {
  return JSON.stringify(grant, (_, value) => (typeof value === 'bigint' ? value.toString() : value))
}
