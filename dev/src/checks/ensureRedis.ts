import { findOnPath } from '../processes/findOnPath.ts'
import { runProgram } from './runProgram.ts'
import type { StepResult } from './runSteps.ts'

/** Makes sure that tests can have a Redis: REDIS_URL, else redis-server on the PATH, else Debian's package, as root. */
export async function ensureRedis(print: (line: string) => void): Promise<StepResult> {
  if (process.env.REDIS_URL) {
    print('REDIS_URL names one.')
    return { exitCode: 0 }
  }
  const found = await findOnPath('redis-server')
  if (found) {
    print(found)
    return { exitCode: 0 }
  }
  if (process.getuid?.() !== 0 || !(await findOnPath('apt-get'))) {
    print('The tests need Redis: set REDIS_URL or install redis-server.')
    return { exitCode: 1 }
  }
  const { exitCode } = await runProgram('sh', ['-c', installScript])
  return { exitCode }
}

// The package would start a server of its own; ours run on free ports. Policy 101 keeps it from doing so.
const installScript = `
set -e
export DEBIAN_FRONTEND=noninteractive
if [ ! -e /usr/sbin/policy-rc.d ]; then
  printf '#!/bin/sh\\nexit 101\\n' > /usr/sbin/policy-rc.d
  chmod +x /usr/sbin/policy-rc.d
  trap 'rm -f /usr/sbin/policy-rc.d' EXIT
fi
apt-get update -qq
apt-get install -y -qq redis-server
`
