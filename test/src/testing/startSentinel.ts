import { devAccounts, type Service, type Stack, startService } from '@protocolbanks/stream-dev'

/** Another sentinel beside a stack's own, or the only one; `label` tells several apart. */
export function startSentinel(stack: Stack, env: Record<string, string>, label = 'sentinel'): Promise<Service> {
  return startService('sentinel', {
    label,
    logDirectory: stack.logDirectory,
    env: {
      DATABASE_URL: stack.databaseUrl,
      RPC_URL: stack.chain.url,
      CHAIN_ID: `${stack.chain.chainId}`,
      SESSION_MODULE: stack.contracts.sessionKeyValidator,
      GATEWAY_URLS: stack.gateway.url,
      GATEWAY_API_KEY: stack.operatorApiKey,
      GUARDIAN_KEY: devAccounts.guardian.privateKey,
      POLL_MS: '250',
      ...env,
    },
  })
}
