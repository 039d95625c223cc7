import { setTimeout as delay } from 'node:timers/promises'
import { type Address, type Hex, parseAmount } from '@protocolbanks/stream-protocol'
import { sessionKeyValidatorAbi } from '@protocolbanks/stream-protocol/abi/sessionKeyValidatorAbi'
import { createPayingFetch } from '@protocolbanks/stream-sdk'
import { privateKeyToAddress } from 'viem/accounts'
import type { Stack } from '../stack/stack.ts'
import { type Budget, grantBudget } from '../story/grantBudget.ts'
import type { ManagementApi } from '../story/managementApi.ts'
import { type Merchant, openMerchant, weatherPrice } from '../story/openMerchant.ts'
import { signInAsOwner } from '../story/signInAsOwner.ts'
import { untilMirrored } from '../story/untilMirrored.ts'
import { type AlertReceiver, startAlertReceiver } from './alertReceiver.ts'
import type { AttackReport } from './attackReport.ts'
import { createAttackView } from './attackView.ts'
import { forEachInFlight } from './forEachInFlight.ts'

const decimals = 6
const budgetAtomic = parseAmount('50', decimals)
const priceAtomic = parseAmount(weatherPrice, decimals)
const calmCalls = 10
const calmPauseMs = 200
const thiefInFlight = 16
/** A thief nobody stops is done when the budget is. */
const mostTheftCalls = 6_000
/** Tries of the thief after the first refusal. */
const triesAfter = 40
const timeoutMs = 60_000

type Incident = { rule: string; explanation: string; chargedAt: string | null }
type Pay = (index: number) => Promise<'served' | 'refused'>

/** The story of a stolen key, told on the console. Every figure is read from where it is true: chain, journal, answers. */
export async function runAttack(stack: Stack): Promise<{ report: AttackReport; decimals: number }> {
  const merchant = await openMerchant(stack)
  const receiver = await startAlertReceiver()
  try {
    const budget = await grantBudget(stack, {
      payees: [merchant.payee],
      amountAtomic: budgetAtomic,
      days: 30,
      paymasterApiKey: merchant.apiKey,
    })
    console.log(`\nThe owner gave an agent 50 USDC for ${merchant.serviceUrl}, ${weatherPrice} a call`)
    await untilMirrored(stack, budget)
    const owner = await signInAsOwner(stack, budget)
    const { secret } = await owner.post<{ secret: string }>('/owner/webhooks', { url: receiver.url })
    receiver.secret = secret
    return { report: await tell(stack, { merchant, budget, owner, receiver }), decimals }
  } finally {
    await receiver.stop()
    await merchant.stop()
  }
}

type Cast = { merchant: Merchant; budget: Budget; owner: ManagementApi; receiver: AlertReceiver }

async function tell(stack: Stack, { merchant, budget, owner, receiver }: Cast): Promise<AttackReport> {
  const agent = payer(merchant, budget)
  for (let call = 0; call < calmCalls; call++) {
    if ((await agent(call)) !== 'served') throw new Error('The agent was refused before anything happened.')
    await delay(calmPauseMs)
  }
  console.log(`It made ${calmCalls} calls, five a second. Then its key is stolen, and drained at full speed:\n`)

  const thief = payer(merchant, budget)
  const freezing = watchFreeze(stack, budget)
  const theft = await steal(thief)
  const { incident, refusedAfterMs } = await readIncident(owner, theft.firstRefusalMs)
  console.log(`\nThe sentinel: ${incident.explanation}`)
  console.log(`The gateway refused the next call ${refusedAfterMs ?? '?'} ms after the charge that broke the rule.`)
  // Its client knows that it did not sign so much, so it begins anew; that helps nobody either.
  const restarted = payer(merchant, budget)
  const whileFrozen = await Promise.all([thief(-1), restarted(-1)])

  const freeze = await freezing
  console.log(`GrantFrozen on the chain, by the guardian ${freeze.by}: ${freeze.txHash}`)
  await untilTold(receiver)
  for (const { type, data } of receiver.alerts)
    console.log(`The owner's server was told: ${type} (${data.rule ?? `by ${data.by}`})`)

  const before = budget.ownerSignatures().operations
  const { toSign } = await owner.post<{ toSign: { to: Address; data: Hex }[] }>(
    `/owner/grants/${budget.grant.grantId}/unfreeze`,
    { reason: 'The leak is closed.' },
  )
  const unfreeze = await budget.act(toSign)
  const ownerSignatures = budget.ownerSignatures().operations - before
  console.log(`\nThe leak is found and closed. The owner lets the grant go on, by signature: ${unfreeze}`)
  await untilServed(restarted)
  console.log('The agent is served again.')

  const servedAfterUnfreeze = 1
  const served = calmCalls + theft.served + whileFrozen.filter(isServed).length + servedAfterUnfreeze
  return {
    budgetAtomic: budgetAtomic.toString(),
    priceAtomic: priceAtomic.toString(),
    servedBefore: calmCalls,
    servedToThief: theft.served,
    refusedToThief: theft.refused,
    servedWhileFrozen: theft.servedLate + whileFrozen.filter(isServed).length,
    chargedAtomic: await untilCharged(merchant, budget, BigInt(served) * priceAtomic),
    rule: incident.rule,
    explanation: incident.explanation,
    refusedAfterMs,
    frozenOnChainAfterMs: incident.chargedAt === null ? null : freeze.atMs - Date.parse(incident.chargedAt),
    frozenBy: freeze.by,
    freezeTransaction: freeze.txHash,
    guardian: stack.accounts.guardian.address,
    alerts: [...new Set(receiver.alerts.map(({ type }) => type))],
    ownerSignatures,
    servedAfterUnfreeze,
  }
}

const isServed = (outcome: string) => outcome === 'served'

/** Somebody who holds the session key. Any error but the refusal of a frozen grant ends the story. */
function payer({ serviceUrl }: Merchant, { grant, sessionKey }: Budget): Pay {
  const payingFetch = createPayingFetch({ grant, sessionKey, limits: { maxPerCall: weatherPrice } })
  return async (index) => {
    try {
      const answer = await payingFetch(`${serviceUrl}/city-${index}`)
      await answer.arrayBuffer()
      if (answer.ok) return 'served'
      throw new Error(`${serviceUrl} was answered ${answer.status}.`)
    } catch (error) {
      if ((error as { code?: string }).code === 'grant.frozen') return 'refused'
      throw error
    }
  }
}

/** As fast as it goes, until some time after the first refusal. */
async function steal(thief: Pay) {
  const view = createAttackView({ clock: () => performance.now(), priceAtomic, decimals, out: process.stdout })
  let served = 0
  let refused = 0
  let servedLate = 0
  let firstRefusalMs: number | undefined
  await forEachInFlight(mostTheftCalls, thiefInFlight, async (index) => {
    if (refused >= triesAfter) return
    const isLate = firstRefusalMs !== undefined
    const isOk = (await thief(index)) === 'served'
    view.count(isOk)
    if (isOk) served++
    if (isOk && isLate) servedLate++
    if (isOk) return
    refused++
    firstRefusalMs ??= Date.now()
  })
  view.end()
  return { served, refused, servedLate, firstRefusalMs }
}

async function readIncident(owner: ManagementApi, firstRefusalMs: number | undefined) {
  const { incidents } = await owner.get<{ incidents: Incident[] }>('/owner/incidents?severity=critical')
  const incident = incidents.at(-1)
  if (!incident) throw new Error('The sentinel found nothing.')
  const isKnown = firstRefusalMs !== undefined && incident.chargedAt !== null
  return { incident, refusedAfterMs: isKnown ? firstRefusalMs - Date.parse(incident.chargedAt ?? '') : null }
}

/** The event of the freeze, and when it was seen. */
function watchFreeze({ clients, contracts }: Stack, { grant }: Budget) {
  return until('The chain did not freeze the grant', async () => {
    const [event] = await clients.publicClient.getContractEvents({
      address: contracts.sessionKeyValidator,
      abi: sessionKeyValidatorAbi,
      eventName: 'GrantFrozen',
      args: { account: grant.account, grantId: grant.grantId },
      fromBlock: 0n,
    })
    return event && { by: event.args.by ?? null, txHash: event.transactionHash, atMs: Date.now() }
  })
}

async function untilTold({ alerts }: AlertReceiver): Promise<void> {
  const wanted = ['incident.opened', 'incident.stopped']
  await until('The owner was not told', async () =>
    wanted.every((type) => alerts.some((alert) => alert.type === type)) ? true : undefined,
  )
}

async function untilServed(agent: Pay): Promise<void> {
  await until('The agent was not served again', async () => ((await agent(-2)) === 'served' ? true : undefined))
}

type Usage = { grants: { grantId: string; channels: { chargedAtomic: string }[] }[] }

/** What the journal says, once it says what is expected, or does not in time. */
async function untilCharged(merchant: Merchant, { sessionKey }: Budget, expected: bigint): Promise<string> {
  const path = `/session-keys/${privateKeyToAddress(sessionKey)}/usage`
  const deadline = Date.now() + timeoutMs
  for (;;) {
    const { grants } = await merchant.api.get<Usage>(path)
    const channels = grants.flatMap(({ channels: open }) => open)
    const charged = channels.reduce((total, channel) => total + BigInt(channel.chargedAtomic), 0n)
    if (charged === expected || Date.now() > deadline) return charged.toString()
    await delay(100)
  }
}

async function until<T>(otherwise: string, look: () => Promise<T | undefined>): Promise<T> {
  const deadline = Date.now() + timeoutMs
  for (;;) {
    const found = await look()
    if (found !== undefined) return found
    if (Date.now() > deadline) throw new Error(`${otherwise} within ${timeoutMs} ms.`)
    await delay(50)
  }
}
