import { type Address, BaseError } from '@protocolbanks/stream-protocol'
import { encodeAbiParameters, isAddressEqual, type PublicClient, parseAbi } from 'viem'
import { encodeExecute } from '../calls/encodeExecute.ts'
import { installModuleCall, uninstallModuleCall } from '../calls/installModuleCall.ts'
import type { AccountAdapter, EntryPoint } from './accountAdapter.ts'
import { dummySignature } from './dummySignature.ts'
import { entryPoint07 } from './entryPoint.ts'
import { fromNonce, toNonceKey } from './nonceKey.ts'

/**
 * A Safe 1.4.1 with Rhinestone's Safe7579 v1 as its fallback handler and module, on EntryPoint v0.7. Source:
 * https://github.com/rhinestonewtf/safe7579
 *
 * A nonce whose first 20 bytes name no installed validator, zero among them, is checked by the Safe's own owners: see
 * toSafe7579SmartAccount.ts. Validators are a linked list, so a removal has to name the entry before.
 */
export function safe7579(entryPoint: EntryPoint = entryPoint07): AccountAdapter {
  return {
    name: 'safe7579',
    accountIds: ['rhinestone.safe7579.1'],
    entryPoint,
    nonceKey: toNonceKey,
    fromNonce,
    encodeExecute,
    encodeInstall: installModuleCall,
    async encodeUninstall(chain, { account, module, deInitData }) {
      const previous = await findPrevious(chain, account, module)
      const data = encodeAbiParameters([{ type: 'address' }, { type: 'bytes' }], [previous, deInitData])
      return uninstallModuleCall({ account, module, deInitData: data })
    },
    dummySignature,
  }
}

const abi = parseAbi([
  'function getValidatorsPaginated(address cursor, uint256 pageSize) view returns (address[] array, address next)',
])

/** Head and end of the list. */
const sentinel: Address = '0x0000000000000000000000000000000000000001'
const pageSize = 50n
const maxPages = 20

/** The entry before `module`, newest first; the sentinel when it is the newest. */
async function findPrevious(
  chain: Pick<PublicClient, 'readContract'>,
  account: Address,
  module: Address,
): Promise<Address> {
  let previous = sentinel
  for (let page = 0; page < maxPages; page++) {
    const [entries] = await chain.readContract({
      abi,
      address: account,
      functionName: 'getValidatorsPaginated',
      args: [previous, pageSize],
    })
    for (const entry of entries) {
      if (isAddressEqual(entry, module)) return previous
      previous = entry
    }
    if (BigInt(entries.length) < pageSize) break
  }
  throw new ModuleNotInstalledError({ account, module })
}

export class ModuleNotInstalledError extends BaseError {
  override readonly code = 'account.module_not_installed'
  constructor({ account, module }: { account: Address; module: Address }) {
    super('The account does not have this validator installed.', {
      metaMessages: [
        `Account: ${account}`,
        `Module: ${module}`,
        'There is nothing to take off: check the address of the module, and whether an earlier operation did it.',
      ],
      docsPath: '/errors#account-module-not-installed',
    })
  }
}
