import { devAccounts, type Service, startService } from '@protocolbanks/stream-dev'
import type { SponsoredChain } from './sponsoredChain.ts'

/** A settlement process on this chain; several share its work. */
export function startSettler(
  { env, bundler, paymaster, operatorApiKey, logDirectory }: SponsoredChain,
  change: Record<string, string> = {},
): Promise<Service> {
  return startService('settlement', {
    label: `settlement-${++settlers}`,
    logDirectory,
    env: {
      ...env,
      BUNDLER_URL: bundler.url,
      PAYMASTER_URL: paymaster.url,
      PAYMASTER_API_KEY: operatorApiKey,
      SETTLER_KEY: devAccounts.settler.privateKey,
      POLL_MS: '50',
      RETRY_BASE_MS: '100',
      CONFIRMATIONS: '1',
      ...change,
    },
  })
}
let settlers = 0
