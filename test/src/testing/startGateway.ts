import { devAccounts, type Service, type Stack, startService } from '@protocolbanks/stream-dev'

/**
 * Starts the gateway of a stack again, with what it was started with (see startStack) and on its port; with a `label`
 * another one beside it, on a port of its own.
 */
export function startGateway(
  stack: Stack,
  env: Record<string, string>,
  { label, port }: { label?: string; port?: number } = {},
): Promise<Service> {
  return startService('gateway', {
    logDirectory: stack.logDirectory,
    ...(label === undefined ? {} : { label }),
    ...(label === undefined ? { port: Number(new URL(stack.gateway.url).port) } : port === undefined ? {} : { port }),
    env: { ...gatewayEnv(stack), ...env },
  })
}

/** What the gateways of a stack have in common. */
export function gatewayEnv(stack: Stack): Record<string, string> {
  return {
    DATABASE_URL: stack.databaseUrl,
    RPC_URL: stack.chain.url,
    CHAIN_ID: `${stack.chain.chainId}`,
    SESSION_MODULE: stack.contracts.sessionKeyValidator,
    ENTRY_POINT: stack.entryPoint,
    TOKEN: stack.contracts.testUsdc,
    OPERATOR_API_KEY: stack.operatorApiKey,
    SETTLER_ADDRESS: devAccounts.settler.address,
    START_BLOCK: '0',
    INDEXER_POLL_MS: '250',
    UPSTREAM_ALLOW_PRIVATE_NETWORKS: 'true',
    ...(stack.redis ? { REDIS_URL: stack.redis.url } : {}),
  }
}
