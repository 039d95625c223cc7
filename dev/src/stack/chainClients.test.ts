import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createTestClient, http } from 'viem'
import { foundry } from 'viem/chains'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Anvil, startAnvil } from './anvil.ts'
import { createChainClients } from './chainClients.ts'
import { devAccounts } from './devAccounts.ts'

let anvil: Anvil
beforeAll(async () => {
  anvil = await startAnvil()
})
afterAll(() => anvil?.stop())

/** A way to the chain that tells what was asked, and holds up answers about blocks until `letBlocksPass`. */
async function openWay() {
  const asked: string[] = []
  let letBlocksPass = () => {}
  const blocksPass = new Promise<void>((resolve) => {
    letBlocksPass = resolve
  })
  const server = createServer(async (request, response) => {
    let body = ''
    for await (const chunk of request) body += chunk
    const { method } = JSON.parse(body) as { method: string }
    const answer = await fetch(anvil.url, { method: 'POST', body, headers: { 'content-type': 'application/json' } })
    const text = await answer.text()
    if (method === 'eth_getBlockByNumber') await blocksPass
    response.setHeader('content-type', 'application/json').end(text, () => asked.push(method))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    count: (method: string) => asked.filter((one) => one === method).length,
    letBlocksPass,
    close() {
      server.closeAllConnections()
      return new Promise((resolve) => server.close(resolve))
    },
  }
}

test('a transaction is waited for to its end though its block is the last, and came while another was looked at', async () => {
  const node = createTestClient({ mode: 'anvil', chain: foundry, transport: http(anvil.url) })
  const way = await openWay()
  try {
    await node.setAutomine(false)
    const { walletClient } = createChainClients(anvil.url, devAccounts.operator.account)
    const hash = await walletClient.sendTransaction({ to: devAccounts.payee.address, value: 1n, gas: 21_000n })
    const { publicClient } = createChainClients(way.url, devAccounts.operator.account)
    const waiting = publicClient.waitForTransactionReceipt({ hash, timeout: 60_000 })
    // It was looked for, in the block before.
    await expect.poll(() => way.count('eth_getTransactionReceipt')).toBeGreaterThan(1)
    await node.mine({ blocks: 1 })
    const before = way.count('eth_blockNumber')
    let isOver = false
    const over = () => {
      isOver = true
    }
    waiting.then(over, over)
    // The new block was told, or there is no more to tell.
    await expect.poll(() => isOver || way.count('eth_blockNumber') > before + 3).toBe(true)
    way.letBlocksPass()
    expect(await waiting).toMatchObject({ status: 'success' })
  } finally {
    await way.close()
  }
})
