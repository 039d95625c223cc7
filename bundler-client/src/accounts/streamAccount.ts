import { encodeExecute } from '../calls/encodeExecute.ts'
import { installModuleCall, uninstallModuleCall } from '../calls/installModuleCall.ts'
import type { AccountAdapter, EntryPoint } from './accountAdapter.ts'
import { dummySignature } from './dummySignature.ts'
import { entryPoint08 } from './entryPoint.ts'
import { fromNonce, toNonceKey } from './nonceKey.ts'

/** StreamAccount and StreamAccount7702 (contracts/src), on EntryPoint v0.8. */
export function streamAccount(entryPoint: EntryPoint = entryPoint08): AccountAdapter {
  return {
    name: 'stream-account',
    accountIds: ['protocolbanks.stream.1', 'protocolbanks.stream7702.1'],
    entryPoint,
    nonceKey: toNonceKey,
    fromNonce,
    encodeExecute,
    encodeInstall: installModuleCall,
    encodeUninstall: async (_chain, params) => uninstallModuleCall(params),
    dummySignature,
  }
}
