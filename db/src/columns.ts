import type { Address, Hex } from '@protocolbanks/stream-protocol'
import { customType, timestamp } from 'drizzle-orm/pg-core'
import { getAddress } from 'viem'

/** Lower-case hex in the database, EIP-55 checksummed in TypeScript. */
export const address = customType<{ data: Address; driverData: string }>({
  dataType: () => 'evm_address',
  toDriver: (value) => value.toLowerCase(),
  fromDriver: (value) => getAddress(value),
})

/** 32 bytes, lower-case hex. */
export const bytes32 = customType<{ data: Hex; driverData: string }>({
  dataType: () => 'hex_bytes32',
  toDriver: (value) => value.toLowerCase(),
  fromDriver: (value) => value as Hex,
})

/** Any number of bytes, lower-case hex. */
export const bytes = customType<{ data: Hex; driverData: string }>({
  dataType: () => 'hex_bytes',
  toDriver: (value) => value.toLowerCase(),
  fromDriver: (value) => value as Hex,
})

/** A list of hex strings; 32-byte hashes in every use of it. */
export const hexArray = customType<{ data: Hex[]; driverData: string[] }>({
  dataType: () => 'text[]',
  toDriver: (values) => values.map((value) => value.toLowerCase()),
  fromDriver: (values) => values as Hex[],
})

/** Money and gas: numeric in the database, bigint here. The driver brings it as a string, so nothing is rounded. */
export const uint128 = customType<{ data: bigint; driverData: string }>({
  dataType: () => 'uint128',
  toDriver: (value) => value.toString(),
  fromDriver: (value) => BigInt(value),
})

export const uint256 = customType<{ data: bigint; driverData: string }>({
  dataType: () => 'uint256',
  toDriver: (value) => value.toString(),
  fromDriver: (value) => BigInt(value),
})

/** A W3C trace id: 32 hex digits here, in the database a UUID of the same 16 bytes. */
export const traceId = customType<{ data: string; driverData: string }>({
  dataType: () => 'uuid',
  fromDriver: (value) => value.replaceAll('-', ''),
})

/** A moment in UTC with milliseconds, as a Date has it. */
export const moment = (name: string) => timestamp(name, { withTimezone: true, precision: 3, mode: 'date' })
