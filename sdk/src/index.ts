export type { ChargesOperation, ChargesTransport } from '@protocolbanks/stream-protocol'
export {
  BaseError,
  parseReceiptKeys,
  type ReceiptCheck,
  type ReceiptKey,
  verifyReceipt,
} from '@protocolbanks/stream-protocol'
export { type AgentStore, createMemoryStore, StoredStateError } from './agent/agentStore.ts'
export type { Receipt } from './agent/answer.ts'
export { UnsupportedUrlError } from './agent/call.ts'
export {
  createPayingFetch,
  type PayingFetch,
  type PayingFetchOptions,
  type PaymentRequest,
} from './agent/createPayingFetch.ts'
export {
  ChargeDisputedError,
  HostNotAllowedError,
  LimitExceededError,
  PaymentDeclinedError,
  PaymentRedirectedError,
  PaymentRefusedError,
} from './agent/errors.ts'
export { type AgentGrant, InvalidGrantError, parseGrant } from './agent/grant.ts'
export { type AgentLimits, type Amount, type HostLimits, InvalidLimitError } from './agent/limits.ts'
export { OfferUnmatchedError } from './agent/offer.ts'
export { ReceiptForgedError, type ReceiptKeys } from './agent/receiptProofs.ts'
export type { VoucherSigner } from './agent/signer.ts'
export { type StopReason, StreamStoppedError } from './agent/streamStopped.ts'
export { GatewayAnswerError, ReleaseFailedError } from './merchant/chargeErrors.ts'
export type { KeptAnswer, KeptAnswers } from './merchant/keptAnswers.ts'
export { InvalidMerchantOptionsError, InvalidReportError } from './merchant/merchantErrors.ts'
export {
  defaultGatewayUrl,
  PBStream,
  type PBStreamOptions,
  type StreamMiddleware,
} from './merchant/PBStream.ts'
export type { Price, PricedRequest, UnitRate } from './merchant/price.ts'
