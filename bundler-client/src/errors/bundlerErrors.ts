import { BaseError } from '@protocolbanks/stream-protocol'

export type BundlerErrorParams = {
  /** What the bundler said, as it said it. */
  detail: string
  /** JSON-RPC code, if it gave one. */
  rpcCode?: number | undefined
  /** Revert data, if it gave any. */
  revertData?: string | undefined
  cause?: unknown
}

/**
 * A bundler did not take, estimate or find a UserOperation. `retryable`: building the operation afresh (nonce, fees, gas,
 * sponsorship) and sending it again can succeed. One class for each thing somebody would do about it.
 */
export abstract class BundlerError extends BaseError {
  readonly detail: string
  readonly rpcCode: number | undefined
  readonly revertData: string | undefined

  constructor(shortMessage: string, hint: string, { detail, rpcCode, revertData, cause }: BundlerErrorParams) {
    super(shortMessage, {
      cause,
      metaMessages: [
        `Bundler: ${detail.slice(0, 500)}`,
        ...(rpcCode === undefined ? [] : [`JSON-RPC code: ${rpcCode}`]),
        ...(revertData === undefined ? [] : [`Revert data: ${revertData.slice(0, 200)}`]),
        hint,
      ],
      docsPath: '/errors#bundler',
    })
    this.detail = detail
    this.rpcCode = rpcCode
    this.revertData = revertData
  }
}

export class BundlerUnavailableError extends BundlerError {
  override readonly code = 'bundler.unavailable'
  override readonly retryable = true
  constructor(params: BundlerErrorParams) {
    super('The bundler did not answer.', 'Try again; if it lasts, check the address and that it runs.', params)
  }
}

/** It took the operation, but nothing shows yet whether it was included. */
export class UserOperationTimeoutError extends BaseError {
  override readonly code = 'bundler.receipt_timeout'
  override readonly retryable = true
  constructor({ userOpHash, waitedMs }: { userOpHash: string; waitedMs: number }) {
    super('The UserOperation was not included in time.', {
      metaMessages: [
        `UserOperation: ${userOpHash}`,
        `Waited: ${waitedMs} ms`,
        'It can still be included: look it up by its hash before another is sent.',
      ],
      docsPath: '/errors#bundler',
    })
  }
}

export class UserOperationInvalidError extends BundlerError {
  override readonly code = 'bundler.invalid'
  constructor(params: BundlerErrorParams) {
    super('The bundler does not accept the form of the UserOperation.', 'Compare the fields with ERC-7769.', params)
  }
}

export class FeeTooLowError extends BundlerError {
  override readonly code = 'bundler.fee_too_low'
  override readonly retryable = true
  constructor(params: BundlerErrorParams) {
    super("The UserOperation's fees are too low.", 'Ask for the gas price again and rebuild it.', params)
  }
}

export class GasLimitTooLowError extends BundlerError {
  override readonly code = 'bundler.gas_too_low'
  override readonly retryable = true
  constructor(params: BundlerErrorParams) {
    super("One of the UserOperation's gas limits is too low.", 'Estimate the gas again and rebuild it.', params)
  }
}

export class GasLimitTooHighError extends BundlerError {
  override readonly code = 'bundler.gas_too_high'
  constructor(params: BundlerErrorParams) {
    super("The UserOperation's gas limits are above what the bundler takes.", 'Put fewer claims into it.', params)
  }
}

export class InvalidNonceError extends BundlerError {
  override readonly code = 'bundler.nonce'
  override readonly retryable = true
  constructor(params: BundlerErrorParams) {
    super(
      "The UserOperation's nonce was used, is not next, or another operation with it is waiting.",
      'Look up the earlier operation by its hash, then rebuild with the current nonce.',
      params,
    )
  }
}

/** It has an earlier version in a bundle that is not in the chain yet, or not any more: neither dropped nor refused. */
export class NonceBusyError extends BundlerError {
  override readonly code = 'bundler.nonce_busy'
  override readonly retryable = true
  constructor(params: BundlerErrorParams) {
    super(
      'The bundler still works on another UserOperation with this nonce.',
      'Wait for the earlier operation; either is included, or the bundler gives it up.',
      params,
    )
  }
}

export class AccountNotDeployedError extends BundlerError {
  override readonly code = 'account.not_deployed'
  constructor(params: BundlerErrorParams) {
    super('The account is not deployed.', 'Send the owner’s first UserOperation with its factory fields.', params)
  }
}

export class AccountDeploymentError extends BundlerError {
  override readonly code = 'account.deployment'
  constructor(params: BundlerErrorParams) {
    super('The factory did not deploy this account.', 'Check factory, factoryData and sender.', params)
  }
}

export class AccountValidationError extends BundlerError {
  override readonly code = 'account.validation'
  constructor(params: BundlerErrorParams) {
    super(
      'The account refused the UserOperation with a revert.',
      'Check the nonce’s validator and the call data.',
      params,
    )
  }
}

/** The account's check says no: wrong key, or for a settlement: the grant is not live or the call data is not exact. */
export class SignatureRefusedError extends BundlerError {
  override readonly code = 'account.signature'
  constructor(params: BundlerErrorParams) {
    super(
      'The account refused the signature of the UserOperation.',
      'Check the signing key; for a settlement also that the grant is live and names this settler.',
      params,
    )
  }
}

export class OperationExpiredError extends BundlerError {
  override readonly code = 'bundler.expired'
  override readonly retryable = true
  constructor(params: BundlerErrorParams) {
    super(
      'The UserOperation, or its sponsorship, is not valid now.',
      'Ask for a new sponsorship; check that the grant is inside its validity and that the clocks agree.',
      params,
    )
  }
}

export class ExecutionRevertedError extends BundlerError {
  override readonly code = 'bundler.reverted'
  constructor(params: BundlerErrorParams) {
    super('The call of the UserOperation reverts.', 'The revert data names the reason.', params)
  }
}

export class OperationForbiddenError extends BundlerError {
  override readonly code = 'bundler.forbidden'
  constructor(params: BundlerErrorParams) {
    super('Validation breaks a rule of ERC-7562.', 'Use another bundler, or stake the entity it names.', params)
  }
}

export class EntityThrottledError extends BundlerError {
  override readonly code = 'bundler.throttled'
  override readonly retryable = true
  constructor(params: BundlerErrorParams) {
    super('The bundler throttles the paymaster, factory or account.', 'Wait, or add stake.', params)
  }
}

export class PaymasterDepositError extends BundlerError {
  override readonly code = 'paymaster.deposit'
  override readonly retryable = true
  constructor(params: BundlerErrorParams) {
    super("The paymaster's deposit does not cover the UserOperation.", 'Deposit at the EntryPoint.', params)
  }
}

export class PaymasterValidationError extends BundlerError {
  override readonly code = 'paymaster.validation'
  override readonly retryable = true
  constructor(params: BundlerErrorParams) {
    super(
      'The paymaster contract refused the UserOperation.',
      'Ask for a new sponsorship; no field may change after it. Check the paymaster’s signer.',
      params,
    )
  }
}

export class BundlerRefusedError extends BundlerError {
  override readonly code = 'bundler.refused'
  constructor(params: BundlerErrorParams) {
    super('The bundler refused the UserOperation.', 'Its own words are above.', params)
  }
}
