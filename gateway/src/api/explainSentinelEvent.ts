import type { SentinelEvent } from '@protocolbanks/stream-db'

const found: Record<string, string> = {
  alert: 'told of it',
  block: 'had every gateway refuse the grant',
  freeze: 'froze the grant',
  revoke: 'revoked the grant',
}
const impossible: Record<string, string> = {
  'guardian.not_named': 'the account names another guardian, or none',
  'grant.not_on_chain': 'the chain has no such grant',
}

/** What was seen or done, in one sentence. */
export function explainSentinelEvent({ kind, rule, detail }: Pick<SentinelEvent, 'kind' | 'rule' | 'detail'>): string {
  const text = (name: string) => (typeof detail[name] === 'string' ? detail[name] : undefined)
  const who = nameActor(text('actor') ?? 'somebody')
  const did = found[kind]
  if (did !== undefined) {
    const because = text('explanation')?.replace(/\.$/, '')
    const version = typeof detail.ruleVersion === 'number' ? `, version ${detail.ruleVersion},` : ''
    return `The rule ${rule ?? 'unknown'}${version} ${did}${because ? `: ${because}` : ''}.`
  }
  switch (kind) {
    case 'acknowledged':
      return `It was seen by ${who}.`
    case 'closed':
      return `It was closed by ${who}.`
    case 'owner_confirmed':
      return `The owner said that it was them (by ${who}).`
    case 'owner_rejected':
      return `The owner said that it was not them (by ${who}).`
  }
  const [, stop = '', step = ''] = /^(freeze|revoke)_(refused|confirmed|impossible)$/.exec(kind) ?? []
  const done = stop === 'revoke' ? 'revoked' : 'frozen'
  switch (step) {
    case 'refused':
      return 'From here on every gateway refuses the grant.'
    case 'confirmed': {
      const hash = text('txHash')
      const by = hash === undefined ? ', by somebody else before the guardian' : ` by the transaction ${hash}`
      return `The grant is ${done} on the chain${by}, in block ${text('blockNumber') ?? 'unknown'}.`
    }
    case 'impossible': {
      const code = text('errorCode') ?? 'unknown'
      return `The guardian cannot stop it on the chain: ${impossible[code] ?? code}. Gateways go on refusing it.`
    }
  }
  const because = text('explanation')
  return because ?? `${kind.replaceAll('_', ' ').replace(/^./, (first) => first.toUpperCase())}.`
}

/** Which key of the operator's it was is not told. */
export function nameActor(actor: string): string {
  return /^key_/.test(actor) ? 'operator' : actor
}
