import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { isHex } from 'viem'
import { type DeploymentStep, planStep } from './planDeployment.ts'

/** With it the deterministic deployer puts EntryPoint v0.8 at its address of every other chain. */
const salt = '0x0a59dbff790c23c976a548690c27297883cc66b4c67024f9117b0238995e35e9'

/**
 * EntryPoint v0.8, for chains of our own: public chains have it. Its creation code is the one the authors publish.
 *
 * @throws when the package `@account-abstraction/contracts` is not installed
 */
export async function planEntryPoint(): Promise<DeploymentStep> {
  const path = createRequire(import.meta.url).resolve('@account-abstraction/contracts/artifacts/EntryPoint.json')
  const { bytecode } = JSON.parse(await readFile(path, 'utf8')) as { bytecode?: unknown }
  if (!isHex(bytecode)) throw new Error(`${path} carries no creation code. Is it version 0.8.0?`)
  return planStep('entryPoint', bytecode, salt)
}
