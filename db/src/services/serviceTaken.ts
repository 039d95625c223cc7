import { BaseError } from '@protocolbanks/stream-protocol'
import { isUniqueViolation } from '../errors.ts'

export type WantedService = { name?: string | undefined; pathPrefix?: string | undefined }

/** Runs an insert or update of services. @throws ServiceTakenError when another has the path, or the name at its merchant */
export async function refuseTaken<T>(wanted: WantedService, query: Promise<T>): Promise<T> {
  const { name, pathPrefix } = wanted
  try {
    return await query
  } catch (error) {
    if (isUniqueViolation(error, 'service_path_unique')) {
      throw new ServiceTakenError(`The path ${pathPrefix} is in use by another service.`, error, { pathPrefix })
    }
    if (isUniqueViolation(error, 'service_name_unique')) {
      throw new ServiceTakenError(`The merchant has another service with the name ${name}.`, error, { name })
    }
    throw error
  }
}

export class ServiceTakenError extends BaseError {
  override readonly code = 'service.taken'
  /** Which of the two is in use. */
  readonly taken: WantedService
  constructor(reason: string, cause: unknown, taken: WantedService) {
    super('The service cannot have this path or name.', {
      cause,
      metaMessages: [reason, 'Choose another.'],
      docsPath: '/errors#service-taken',
    })
    this.taken = taken
  }
}
