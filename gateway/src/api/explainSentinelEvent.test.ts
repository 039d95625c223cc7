import { expect, test } from 'vitest'
import { explainSentinelEvent } from './explainSentinelEvent.ts'

const explanation = 'It made 101 calls within a minute.'
const rule = 'calls.per_minute'

test.each([
  [
    { kind: 'freeze', rule, detail: { ruleVersion: 1, explanation } },
    'The rule calls.per_minute, version 1, froze the grant: It made 101 calls within a minute.',
  ],
  [{ kind: 'alert', rule: 'funds.low', detail: {} }, 'The rule funds.low told of it.'],
  [{ kind: 'freeze_refused', rule: null, detail: {} }, 'From here on every gateway refuses the grant.'],
  [
    { kind: 'freeze_confirmed', rule: null, detail: { txHash: '0xab', blockNumber: '7' } },
    'The grant is frozen on the chain by the transaction 0xab, in block 7.',
  ],
  [
    { kind: 'revoke_confirmed', rule: null, detail: { txHash: null, blockNumber: '7' } },
    'The grant is revoked on the chain, by somebody else before the guardian, in block 7.',
  ],
  [
    { kind: 'freeze_impossible', rule: null, detail: { errorCode: 'guardian.not_named' } },
    'The guardian cannot stop it on the chain: the account names another guardian, or none. Gateways go on refusing it.',
  ],
  [{ kind: 'acknowledged', rule, detail: { actor: 'owner:0xab' } }, 'It was seen by owner:0xab.'],
  [{ kind: 'closed', rule, detail: { actor: 'key_0123' } }, 'It was closed by operator.'],
  [{ kind: 'half_opened', rule: null, detail: {} }, 'Half opened.'],
])('what was seen or done is told in one sentence: %s', (event, sentence) => {
  expect(explainSentinelEvent(event)).toBe(sentence)
})
