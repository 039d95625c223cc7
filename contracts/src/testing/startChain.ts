import { spawn } from 'node:child_process'
import { createServer } from 'node:net'
import { fileURLToPath } from 'node:url'
import { type Chain, createPublicClient, createWalletClient, http } from 'viem'
import { privateKeyToAccount } from 'viem/accounts'
import { foundry } from 'viem/chains'
import type { DeployClients } from '../deployContracts.ts'

/** A local chain for one test file, and clients of an account that has ether on it. */
export type TestChain = { clients: DeployClients; url: string; stop: () => Promise<void> }

/** The first of the accounts that anvil funds, known to everybody. */
const funded = privateKeyToAccount('0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80')
const startTimeoutMs = 60_000

/** Starts anvil on a free port. @throws when it does not answer within a minute. */
export async function startChain(chain: Chain = foundry): Promise<TestChain> {
  const port = await freePort()
  const path = fileURLToPath(new URL('../../../node_modules/.bin/anvil', import.meta.url))
  const anvil = spawn(path, ['--port', String(port), '--chain-id', String(chain.id), '--silent'], { stdio: 'inherit' })
  const exited = new Promise<void>((resolve) => anvil.once('exit', () => resolve()))
  const stop = () => {
    anvil.kill()
    return exited
  }
  const url = `http://127.0.0.1:${port}`
  const transport = http(url)
  const client = createPublicClient({ chain, transport, pollingInterval: 50 })
  // While viem looks into a block for what replaced a transaction, it overhears the next block, and there may be no other.
  const publicClient: typeof client = {
    ...client,
    waitForTransactionReceipt: (of) => client.waitForTransactionReceipt({ checkReplacement: false, ...of }),
  }
  const walletClient = createWalletClient({ chain, transport, account: funded })
  const deadline = Date.now() + startTimeoutMs
  for (;;) {
    try {
      await publicClient.getChainId()
      return { clients: { publicClient, walletClient }, url, stop }
    } catch (cause) {
      if (Date.now() > deadline) {
        await stop()
        throw new Error(`anvil did not answer on port ${port} within ${startTimeoutMs} ms.`, { cause })
      }
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
  }
}

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const address = server.address()
  await new Promise((resolve) => server.close(resolve))
  if (address === null || typeof address === 'string') throw new Error(`Not a TCP address: ${address}`)
  return address.port
}
