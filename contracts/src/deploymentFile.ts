import { mkdir, open, readFile, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { type Deployment, DeploymentFileError, parseDeployment } from './deployment.ts'
import { repositoryRoot } from './standardInput.ts'

/** Where the repository keeps what was deployed. */
export const deploymentsDirectory = join(repositoryRoot, 'deployments')

export function deploymentPath(chainId: number, directory = deploymentsDirectory): string {
  return join(directory, `${chainId}.json`)
}

/**
 * What is deployed on a chain, by the deployments file.
 *
 * @example (await loadDeployment(80002)).contracts.sessionKeyValidator.address
 * @throws DeploymentFileError
 */
export async function loadDeployment(chainId: number, directory = deploymentsDirectory): Promise<Deployment> {
  const deployment = await findDeployment(chainId, directory)
  if (deployment) return deployment
  throw new DeploymentFileError(deploymentPath(chainId, directory), [
    'There is none: nothing is deployed on this chain.',
  ])
}

/** Undefined when there is no file. @throws DeploymentFileError when there is one that cannot be used */
export async function findDeployment(chainId: number, directory: string): Promise<Deployment | undefined> {
  const path = deploymentPath(chainId, directory)
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
  const deployment = parseDeployment(text, path)
  if (deployment.chainId === chainId) return deployment
  throw new DeploymentFileError(path, [`chainId: ${deployment.chainId}, which is not the chain of its name`])
}

/**
 * Writes all or nothing, and nothing where it would change nothing.
 *
 * @returns whether the file changed
 */
export async function writeDeployment(deployment: Deployment, directory: string): Promise<boolean> {
  const path = deploymentPath(deployment.chainId, directory)
  const text = `${JSON.stringify(deployment, null, 2)}\n`
  const before = await readFile(path, 'utf8').catch(() => undefined)
  if (before === text) return false
  await mkdir(directory, { recursive: true })
  const temporary = `${path}.${process.pid}.tmp`
  try {
    const file = await open(temporary, 'w')
    try {
      await file.writeFile(text)
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(temporary, path)
  } finally {
    await rm(temporary, { force: true })
  }
  return true
}
