import { MeterUsageError } from './errors.ts'

/** @throws MeterUsageError when it cannot be the name of a process in the meter. */
export function assertInstance(instance: string): void {
  if (!/^[\w.:-]{1,64}$/.test(instance)) {
    throw new MeterUsageError('The instance name is not valid.', [
      `Instance: ${instance.slice(0, 80)}`,
      'Use 1 to 64 letters, digits and _ . : - (for example a UUID).',
    ])
  }
}
