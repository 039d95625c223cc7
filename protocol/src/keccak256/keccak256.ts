/** Keccak-256 as Ethereum uses it (not SHA3-256), 32 bytes. Two implementations; package.json `imports` chooses. */
export type Keccak256 = (bytes: Uint8Array) => Uint8Array
