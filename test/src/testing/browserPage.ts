// What browser.test.ts runs inside a page. It is bundled for browsers, so nothing here may need Node.
import {
  type Address,
  createVoucherHasher,
  type Hex,
  type SignedVoucher,
  signVoucher,
  type Voucher,
  type VoucherDomain,
  verifyVoucher,
} from '@protocolbanks/stream-protocol'
import { type AgentGrant, createPayingFetch, type Receipt } from '@protocolbanks/stream-sdk'

/** Signs each voucher with the session key. */
export function signInPage(domain: VoucherDomain, privateKey: Hex, vouchers: Voucher[]): Hex[] {
  const hash = createVoucherHasher(domain)
  return vouchers.map((voucher) => signVoucher(hash, privateKey, voucher).signature)
}

/** Whether the session key signed each voucher: with its key recovered, and once more against the recovered key. */
export function verifyInPage(domain: VoucherDomain, sessionKey: Address, vouchers: SignedVoucher[]): boolean[] {
  const hash = createVoucherHasher(domain)
  return vouchers.map((voucher) => {
    const verified = verifyVoucher(hash, voucher, sessionKey)
    return verified !== undefined && verifyVoucher(hash, voucher, sessionKey, verified.publicKey) !== undefined
  })
}

/** Calls `url` `calls` times at once with a paying fetch; the bodies that arrived and their receipts. */
export async function payInPage(options: {
  grant: AgentGrant
  sessionKey: Hex
  url: string
  calls: number
}): Promise<{ bodies: string[]; receipts: Receipt[] }> {
  const { grant, sessionKey, url, calls } = options
  const receipts: Receipt[] = []
  const payingFetch = createPayingFetch({ grant, sessionKey, onReceipt: (receipt) => receipts.push(receipt) })
  const call = async () => (await payingFetch(url)).text()
  return { bodies: await Promise.all(Array.from({ length: calls }, call)), receipts }
}

/** The name and code of the error that a paid call ends with, `served` when it ends well. */
export async function refusalInPage(options: {
  grant: AgentGrant
  sessionKey: Hex
  url: string
  maxPerCall: bigint
}): Promise<string> {
  const { grant, sessionKey, url, maxPerCall } = options
  try {
    await createPayingFetch({ grant, sessionKey, limits: { maxPerCall } })(url)
    return 'served'
  } catch (error) {
    return error instanceof Error && 'code' in error ? String(error.code) : String(error)
  }
}
