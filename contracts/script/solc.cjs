#!/usr/bin/env node
// A Solidity compiler for forge: answers the two calls forge makes by running npm's `solc` (WebAssembly), because forge
// cannot be relied on to download a native one. Forge inlines every source, so no file is read here.
const { readFileSync } = require('node:fs')
const solc = require('solc')

if (process.argv.includes('--version')) {
  // The commit suffix is cut at the platform: forge reads semver, and only the release and commit are binding.
  const version = solc.version().replace('.Emscripten.clang', '')
  process.stdout.write(`solc, the solidity compiler commandline interface\nVersion: ${version}\n`)
} else if (process.argv.includes('--standard-json')) {
  process.stdout.write(solc.compile(readFileSync(0, 'utf8')))
} else {
  process.stderr.write(`Unknown call: ${process.argv.slice(2).join(' ')}. Known are --version and --standard-json.\n`)
  process.exitCode = 1
}
