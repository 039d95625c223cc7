/** EIP-712 domain of a token, without its address. Of USDC on most chains: `USD Coin`, `2`. */
export type TokenDomain = { name: string; version: string; chainId: number }
