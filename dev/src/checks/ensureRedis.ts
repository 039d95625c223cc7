import { findOnPath } from '../processes/findOnPath.ts'
import { canInstall, installDebianPackage } from './installDebianPackage.ts'
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
  if (!(await canInstall())) {
    print('The tests need Redis: set REDIS_URL or install redis-server.')
    return { exitCode: 1 }
  }
  return { exitCode: await installDebianPackage('redis-server') }
}
