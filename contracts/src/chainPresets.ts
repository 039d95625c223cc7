import type { Address, Chain } from 'viem'
import { base, baseSepolia, foundry, polygon, polygonAmoy } from 'viem/chains'

/** A chain this can be deployed on. */
export type ChainPreset = {
  name: string
  chain: Chain
  /** Circle's USDC. Without it the chain is one of our own, where the test token and EntryPoint are deployed as well. */
  usdc?: Address
  /** Blocks on top of a deployment before it is believed. */
  confirmations: number
  /** Blockscout's API, for source verification. */
  blockscoutUrl?: string
}

/**
 * USDC as Circle lists it: https://developers.circle.com/stablecoins/usdc-contract-addresses
 *
 * Confirmations are what a reorganisation of normal size does not reach. Polygon finalises with milestones, within
 * seconds; Base's sequencer has never taken back a block that L1 has seen, minutes later. `--check` looks again.
 */
export const chainPresets = {
  polygon: {
    name: 'polygon',
    chain: polygon,
    usdc: '0x3c499c542cEF5E3811e1192ce70d8cC03d5c3359',
    confirmations: 32,
    blockscoutUrl: 'https://polygon.blockscout.com/api/',
  },
  'polygon-amoy': {
    name: 'polygon-amoy',
    chain: polygonAmoy,
    usdc: '0x41E94Eb019C0762f9Bfcf9Fb1E58725BfB0e7582',
    confirmations: 32,
    blockscoutUrl: 'https://polygon-amoy.blockscout.com/api/',
  },
  base: {
    name: 'base',
    chain: base,
    usdc: '0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913',
    confirmations: 10,
    blockscoutUrl: 'https://base.blockscout.com/api/',
  },
  'base-sepolia': {
    name: 'base-sepolia',
    chain: baseSepolia,
    usdc: '0x036CbD53842c5426634e7929541eC2318f3dCF7e',
    confirmations: 10,
    blockscoutUrl: 'https://base-sepolia.blockscout.com/api/',
  },
  local: { name: 'local', chain: foundry, confirmations: 1 },
} as const satisfies Record<string, ChainPreset>

export type ChainName = keyof typeof chainPresets
