// Static analysis of contracts/src by slither: `npm run analyze`. Needs Python 3.10 or later. Every finding is corrected, or
// explained in a comment above `// slither-disable-next-line <detector>`.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { analyzeProject } from './slither/analyzeProject.ts'
import { ensureSlither } from './slither/ensureSlither.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))

/** Anybody takes all its ether. An analysis that misses this would miss anything. */
const planted = `// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

contract Planted {
    function take(address payable to) external {
        to.transfer(address(this).balance);
    }
}
`

function findPlanted(python: string): boolean {
  const directory = mkdtempSync(join(tmpdir(), 'stream-planted-'))
  try {
    mkdirSync(join(directory, 'contracts/src'), { recursive: true })
    writeFileSync(join(directory, 'contracts/src/Planted.sol'), planted)
    const solc = join(root, 'contracts/script/solc.cjs')
    writeFileSync(join(directory, 'foundry.toml'), `[profile.default]\nsrc = "contracts/src"\nsolc = "${solc}"\n`)
    return analyzeProject(python, directory).some((finding) => finding.startsWith('arbitrary-send-eth (High)'))
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

const python = ensureSlither(join(root, '.cache'))
if (!findPlanted(python))
  throw new Error('slither misses a finding that was planted: what it says of the sources is worth nothing.')
const findings = analyzeProject(python, root)
for (const finding of findings) console.log(`${finding}\n`)
if (findings.length > 0) {
  console.log(
    `${findings.length} findings. Correct each, or explain it above \`// slither-disable-next-line <detector>\`.`,
  )
  process.exitCode = 1
} else {
  console.log('slither found the planted error, and nothing in contracts/src that is not explained there.')
}
