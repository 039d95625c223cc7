export { bytecode } from '../generated/bytecode.ts'
export * from './deployContracts.ts'
export * from './planDeployment.ts'
