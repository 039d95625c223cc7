import { type BundlerOptions, freePort, startBundler } from '@protocolbanks/stream-dev'

/** A bundler that can be started again: its mempool is empty then. */
export type BundlerServer = {
  url: string
  restart(): Promise<void>
  stop(): Promise<void>
}

export async function startBundlerServer(options: Omit<BundlerOptions, 'port'>): Promise<BundlerServer> {
  const port = await freePort()
  let bundler = await startBundler({ ...options, port })
  return {
    url: bundler.url,
    async restart() {
      await bundler.stop()
      bundler = await startBundler({ ...options, port })
    },
    stop: () => bundler.stop(),
  }
}
