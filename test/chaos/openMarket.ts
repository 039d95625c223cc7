import { setTimeout as delay } from 'node:timers/promises'
import type { Address, Hex } from '@protocolbanks/stream-protocol'
import { type AgentGrant, parseGrant } from '@protocolbanks/stream-sdk'
import { generatePrivateKey, privateKeyToAddress } from 'viem/accounts'
import { foundry } from 'viem/chains'
import { manage } from '../src/testing/manage.ts'
import { createOwner, grantBudget } from '../src/testing/sponsoredChain.ts'
import type { World } from './world.ts'

/** A merchant with one service at the gateways. */
export type Shop = { name: string; payee: Address }

/** An agent's budget, and the shops that it may pay. */
export type Buyer = { grant: AgentGrant; sessionKey: Hex; shops: readonly Shop[] }

export type Market = { shops: readonly Shop[]; buyers: readonly Buyer[] }

export const priceAtomic = 10_000n
const fundsAtomic = 400_000_000n
const shopCount = 3
const buyerCount = 10
/** Of ten: who prepays into the reserve, and who buys from how many. */
const paysFromReserve = (index: number) => index % 4 === 3
const shopsOf = (index: number, shops: readonly Shop[]) =>
  index % 5 === 4 ? shops : index % 5 === 2 ? [pickAt(shops, index), pickAt(shops, index + 1)] : [pickAt(shops, index)]
const mirrorMs = 30_000

/** Shops, and agents with budgets for one, two or three of them; some on credit, some from the reserve. */
export async function openMarket(world: World): Promise<Market> {
  const gateway = { gateway: { url: world.urls['gateway-1'] } }
  const create = async <body>(path: string, json: unknown): Promise<body> => {
    const { status, body } = await manage<body>(gateway, world.operatorApiKey, `POST /${path}`, json)
    if (status !== 201) throw new Error(`POST /api/${path} was answered ${status}: ${JSON.stringify(body)}`)
    return body
  }
  const shops: Shop[] = []
  for (let index = 0; index < shopCount; index++) {
    const shop = { name: `shop-${index}`, payee: privateKeyToAddress(generatePrivateKey()) }
    const { id: merchantId } = await create<{ id: string }>('merchants', {
      ...shop,
      gasBudgetWeiPerDay: `${10n ** 21n}`,
    })
    await create('services', {
      merchantId,
      name: shop.name,
      pathPrefix: `/${shop.name}`,
      upstream: world.urls.upstream,
      price: '0.01',
      // Whatever comes first: thirty calls, or seven seconds.
      threshold: '0.3',
      maxAgeSeconds: 7,
      upstreamTimeoutMs: 5_000,
    })
    shops.push(shop)
  }

  const people = {
    ...world,
    anvil: world.chain,
    chain: foundry,
    minting: Promise.resolve(),
    paymaster: { url: world.urls.paymaster },
  }
  const buyers = await Promise.all(
    Array.from({ length: buyerCount }, async (_, index): Promise<Buyer> => {
      const owner = await createOwner(people, { fundsAtomic })
      const mine = shopsOf(index, shops)
      const payees = mine.map(({ payee }) => payee)
      const { grantId, terms, sessionPrivateKey } = await grantBudget(people, owner, {
        payees,
        terms: { totalLimit: fundsAtomic / 4n },
        ...(paysFromReserve(index) && { deposit: fundsAtomic / 4n }),
      })
      const grant = parseGrant({
        grantId,
        account: owner.account.address,
        chainId: world.chain.chainId,
        module: world.contracts.sessionKeyValidator,
        token: world.contracts.testUsdc,
        payees,
        totalLimit: terms.totalLimit.toString(),
      })
      return { grant, sessionKey: sessionPrivateKey, shops: mine }
    }),
  )
  const deadline = Date.now() + mirrorMs
  for (const { grant, sessionKey } of buyers) {
    const path = `GET /session-keys/${privateKeyToAddress(sessionKey)}` as const
    while ((await manage(gateway, world.operatorApiKey, path)).status !== 200) {
      if (Date.now() > deadline) throw new Error(`The gateway has not seen ${grant.grantId} in ${mirrorMs} ms.`)
      await delay(100)
    }
  }
  return { shops, buyers }
}

function pickAt(shops: readonly Shop[], index: number): Shop {
  const shop = shops[index % shops.length]
  if (!shop) throw new RangeError('There are no shops.')
  return shop
}
