// An agent that pays for what it calls: npm run agent -w examples -- <url> [calls]
import { formatAmount, type Hex } from '@protocolbanks/stream-protocol'
import { createPayingFetch, parseGrant } from '@protocolbanks/stream-sdk'
import { env } from './env.ts'

const [url = env('URL'), calls = '3'] = process.argv.slice(2)

const payingFetch = createPayingFetch({
  grant: parseGrant(JSON.parse(env('GRANT'))),
  sessionKey: env('SESSION_KEY') as Hex,
  limits: { maxPerCall: '0.05', maxPerHour: '1' },
  onReceipt: ({ requestId, amountAtomic, chargedAtomic }) =>
    console.log(`paid ${formatAmount(amountAtomic, 6)}, ${formatAmount(chargedAtomic, 6)} in total (${requestId})`),
})

for (let call = 1; call <= Number(calls); call++) {
  const answer = await payingFetch(url)
  console.log(answer.status, await answer.text())
}
