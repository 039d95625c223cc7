import { findOnPath } from '../processes/findOnPath.ts'
import { runProgram } from './runProgram.ts'

/** Whether this process may install with apt: it is root, and apt-get is there. */
export async function canInstall(): Promise<boolean> {
  return process.getuid?.() === 0 && (await findOnPath('apt-get')) !== undefined
}

/** Installs one of Debian's packages, as root. The exit code is apt's. */
export async function installDebianPackage(name: string): Promise<number> {
  const { exitCode } = await runProgram('sh', ['-c', installScript, 'install', name])
  return exitCode
}

// A package may start a server of its own; ours run on free ports. Policy 101 keeps it from doing so.
const installScript = `
set -e
export DEBIAN_FRONTEND=noninteractive
if [ ! -e /usr/sbin/policy-rc.d ]; then
  printf '#!/bin/sh\\nexit 101\\n' > /usr/sbin/policy-rc.d
  chmod +x /usr/sbin/policy-rc.d
  trap 'rm -f /usr/sbin/policy-rc.d' EXIT
fi
apt-get update -qq
apt-get install -y -qq --no-install-recommends "$1"
`
