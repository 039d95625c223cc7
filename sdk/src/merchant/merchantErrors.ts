import { BaseError } from '@protocolbanks/stream-protocol'

export class InvalidMerchantOptionsError extends BaseError {
  override readonly code = 'merchant.options_invalid'
  constructor(reason: string) {
    super('The options of PBStream are not usable.', {
      metaMessages: [reason],
      docsPath: '/errors#merchant-options-invalid',
    })
  }
}

/** `report` was given what is no number of units, or a request that is not priced by unit. */
export class InvalidReportError extends BaseError {
  override readonly code = 'merchant.report_invalid'
  constructor(reason: string) {
    super('The units of a call cannot be reported.', {
      metaMessages: [reason],
      docsPath: '/errors#merchant-report-invalid',
    })
  }
}
