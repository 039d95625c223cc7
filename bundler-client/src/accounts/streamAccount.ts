import { encodeExecute } from '../calls/encodeExecute.ts'
import { installModuleCall } from '../calls/installModuleCall.ts'
import type { AccountAdapter, EntryPoint } from './accountAdapter.ts'
import { dummySignature } from './dummySignature.ts'
import { entryPoint08 } from './entryPoint.ts'
import { toNonceKey } from './nonceKey.ts'

/**
 * StreamAccount (contracts/src/StreamAccount.sol), and every other ERC-7579 account on EntryPoint v0.8 that reads the
 * validator from the first 20 bytes of the nonce.
 */
export function streamAccount(entryPoint: EntryPoint = entryPoint08): AccountAdapter {
  return {
    name: 'stream-account',
    entryPoint,
    nonceKey: toNonceKey,
    encodeExecute,
    encodeInstall: installModuleCall,
    dummySignature,
  }
}
