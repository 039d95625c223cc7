import { access, constants } from 'node:fs/promises'
import { canInstall, installDebianPackage } from './installDebianPackage.ts'
import type { StepResult } from './runSteps.ts'

const debianPath = '/usr/bin/chromium'

/** Makes sure that tests can have a browser: CHROMIUM_PATH, else /usr/bin/chromium, else Debian's package, as root. */
export async function ensureChromium(print: (line: string) => void): Promise<StepResult> {
  const named = process.env.CHROMIUM_PATH
  const path = named ?? debianPath
  if (await isExecutable(path)) {
    print(path)
    return { exitCode: 0 }
  }
  if (named !== undefined) {
    print(`CHROMIUM_PATH is ${named}, which is no program: correct it, or unset it to use ${debianPath}.`)
    return { exitCode: 1 }
  }
  if (!(await canInstall())) {
    print(`The tests need a browser: set CHROMIUM_PATH or install chromium as ${debianPath}.`)
    return { exitCode: 1 }
  }
  return { exitCode: await installDebianPackage('chromium') }
}

function isExecutable(path: string): Promise<boolean> {
  return access(path, constants.X_OK).then(
    () => true,
    () => false,
  )
}
