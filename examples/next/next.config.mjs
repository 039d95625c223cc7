import { fileURLToPath } from 'node:url'

/** @type {import('next').NextConfig} */
// biome-ignore lint/style/noDefaultExport: Next.js asks for it
export default {
  // The SDK comes as TypeScript, and what it verifies signatures with as native code.
  transpilePackages: ['@protocolbanks/stream-sdk', '@protocolbanks/stream-protocol'],
  serverExternalPackages: ['secp256k1', 'hash-wasm'],
  turbopack: { root: fileURLToPath(new URL('../../', import.meta.url)) },
}
