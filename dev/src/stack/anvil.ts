import { createRequire } from 'node:module'
import { join } from 'node:path'
import { createTempDir } from '../processes/createTempDir.ts'
import { freePort } from '../processes/freePort.ts'
import { readyWhenRpcAnswers } from '../processes/ready.ts'
import { startProcess } from '../processes/startProcess.ts'

export const devChainId = 31_337

export type AnvilOptions = {
  /** Free by default. */
  port?: number
  /** Seconds between blocks. By default every transaction gets a block of its own at once. */
  blockTimeSeconds?: number
}

export type Anvil = {
  /** JSON-RPC, over HTTP and (with ws://) WebSocket. */
  url: string
  chainId: number
  stop(): Promise<void>
}

/** Starts a chain of our own with chain id 31337, in memory. The accounts of devAccounts.ts hold 10,000 ETH each. */
export async function startAnvil(options: AnvilOptions = {}): Promise<Anvil> {
  const [directory, port] = await Promise.all([createTempDir('anvil'), options.port ?? freePort()])
  const url = `http://127.0.0.1:${port}`
  const server = await startProcess({
    name: 'Anvil',
    command: anvilPath(),
    args: [
      ...['--host', '127.0.0.1', '--port', `${port}`, '--chain-id', `${devChainId}`, '--silent'],
      // Those of devAccounts.ts.
      ...['--accounts', '11'],
      // The bundler's simulation contracts are larger than EIP-170 allows.
      '--disable-code-size-limit',
      ...(options.blockTimeSeconds ? ['--block-time', `${options.blockTimeSeconds}`] : []),
    ],
    cwd: directory.path,
    logFile: join(directory.path, 'anvil.log'),
    ready: readyWhenRpcAnswers(url, 'eth_chainId'),
  })
  return {
    url,
    chainId: devChainId,
    async stop() {
      await server.stop()
      await directory.remove()
    },
  }
}

/** The program itself, not npm's launcher around it, which would be one more process. */
function anvilPath(): string {
  const arch = process.arch === 'x64' ? 'amd64' : process.arch
  const launcher = createRequire(import.meta.url).resolve('@foundry-rs/anvil/package.json')
  const manifest = createRequire(launcher).resolve(`@foundry-rs/anvil-${process.platform}-${arch}/package.json`)
  return join(manifest, '..', 'bin', 'anvil')
}
