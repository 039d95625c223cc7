import type { Stack } from './stack.ts'

/** Every address and key one needs to try a stack by hand. The keys are those every development chain has. */
export function describeStack(stack: Stack): string {
  const { accounts, contracts } = stack
  const account = (name: keyof typeof accounts) => `${accounts[name].address}  key ${accounts[name].privateKey}`
  return `
Running on this machine, with nothing real in it:

  gateway      ${stack.gateway.url}
  paymaster    ${stack.paymaster.url}
  settlement   ${stack.settlement.url}
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

  owner    ${account('owner')}
  agent    ${account('agent')}
  payee    ${accounts.payee.address}
  settler  ${accounts.settler.address}
  guardian ${account('guardian')}

For a second terminal:

  export GATEWAY_URL=${stack.gateway.url}
  export RPC_URL=${stack.chain.url}
  export OPERATOR_API_KEY=${stack.operatorApiKey}
  curl -s $GATEWAY_URL/ready

Ctrl-C stops everything.
`
}
