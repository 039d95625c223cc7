import { BaseError } from '@protocolbanks/stream-protocol'
import {
  AccountDeploymentError,
  AccountNotDeployedError,
  AccountValidationError,
  type BundlerError,
  type BundlerErrorParams,
  BundlerRefusedError,
  BundlerUnavailableError,
  EntityThrottledError,
  ExecutionRevertedError,
  FeeTooLowError,
  GasLimitTooHighError,
  GasLimitTooLowError,
  InvalidNonceError,
  NonceBusyError,
  OperationExpiredError,
  OperationForbiddenError,
  PaymasterDepositError,
  PaymasterValidationError,
  SignatureRefusedError,
  UserOperationInvalidError,
} from './bundlerErrors.ts'
import { readRpcFailure } from './readRpcFailure.ts'

type ErrorClass = new (params: BundlerErrorParams) => BundlerError

// EntryPoint v0.7 and v0.8: the reason strings of FailedOp. They say more than the JSON-RPC code, so they come first.
const byEntryPointReason: Record<string, ErrorClass> = {
  AA10: AccountDeploymentError,
  AA13: AccountDeploymentError,
  AA14: AccountDeploymentError,
  AA15: AccountDeploymentError,
  AA20: AccountNotDeployedError,
  AA21: PaymasterDepositError,
  AA22: OperationExpiredError,
  AA23: AccountValidationError,
  AA24: SignatureRefusedError,
  AA25: InvalidNonceError,
  AA26: GasLimitTooLowError,
  AA30: PaymasterValidationError,
  AA31: PaymasterDepositError,
  AA32: OperationExpiredError,
  AA33: PaymasterValidationError,
  AA34: PaymasterValidationError,
  AA36: GasLimitTooLowError,
  AA40: GasLimitTooLowError,
  AA41: GasLimitTooLowError,
  AA51: GasLimitTooLowError,
  AA93: UserOperationInvalidError,
  AA94: UserOperationInvalidError,
  AA95: GasLimitTooLowError,
}

// Words of bundlers for what has no reason string. Alto's, checked against 0.0.20; other bundlers' differ in detail only.
const byWords: [RegExp, ErrorClass][] = [
  [/max(Priority)?FeePerGas must be|bump the gas price|replacement.*underpriced/i, FeeTooLowError],
  [/already (present|known)|in (the )?mempool/i, InvalidNonceError],
  [/preVerificationGas is not enough|gas .*must be (at least|larger)/i, GasLimitTooLowError],
  [/exceed the max gas/i, GasLimitTooHighError],
  [/expires too soon|not valid yet/i, OperationExpiredError],
  [/paymaster ?(signature|data)/i, PaymasterValidationError],
]

// ERC-7769, "JSON-RPC error codes".
const byRpcCode: Record<number, ErrorClass> = {
  [-32602]: UserOperationInvalidError,
  [-32501]: PaymasterValidationError,
  [-32502]: OperationForbiddenError,
  [-32503]: OperationExpiredError,
  [-32504]: EntityThrottledError,
  [-32505]: EntityThrottledError,
  [-32506]: UserOperationInvalidError,
  [-32507]: SignatureRefusedError,
  [-32508]: PaymasterDepositError,
  [-32521]: ExecutionRevertedError,
}

/**
 * Whatever a call to a bundler threw, as one of our errors. The only place that reads a bundler's text.
 *
 * @example try { await send() } catch (error) { throw toBundlerError(error) }
 */
export function toBundlerError(error: unknown): BaseError {
  if (error instanceof BaseError) return error
  const failure = readRpcFailure(error)
  const params: BundlerErrorParams = { ...failure, cause: error }
  if (!failure.answered) return new BundlerUnavailableError(params)
  // Alto gives it the reason of a wrong nonce, which it is not.
  if (/already being processed/i.test(failure.detail)) return new NonceBusyError(params)
  const reason = /\bAA\d\d\b/i.exec(failure.detail)?.[0].toUpperCase()
  const words = byWords.find(([pattern]) => pattern.test(failure.detail))?.[1]
  const byCode = failure.rpcCode === undefined ? undefined : byRpcCode[failure.rpcCode]
  const Class = (reason && byEntryPointReason[reason]) || words || byCode || BundlerRefusedError
  return new Class(params)
}
