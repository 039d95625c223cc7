import { prepaidReserveAbi } from '@protocolbanks/stream-protocol/abi/prepaidReserveAbi'
import { type Address, encodeAbiParameters, encodeEventTopics, getAddress, type Hex, type Log } from 'viem'
import { expect, test } from 'vitest'
import { decodeEvents } from './chainEvents.ts'

const addressOf = (digit: string) => getAddress(`0x${digit.repeat(40)}`)
const hash: Hex = `0x${'11'.repeat(32)}`
const [module, reserve, token, account, from] = ['a', 'b', 'c', 'd', 'e'].map(addressOf) as [
  Address,
  Address,
  Address,
  Address,
  Address,
]

test("deposits count from the reserve and in the gateway's token only: anybody can emit the others", () => {
  const logs = [
    deposited({ by: reserve, token }),
    deposited({ by: reserve, token: addressOf('1') }),
    deposited({ by: module, token }),
    deposited({ by: addressOf('2'), token }),
  ]
  const { events, created, rejected } = decodeEvents(logs, { chainId: 1, module, reserve, token })
  expect(events).toEqual([
    {
      blockNumber: 7n,
      blockHash: hash,
      logIndex: 3,
      txHash: hash,
      name: 'Deposited',
      account,
      grantId: null,
      payee: null,
      data: { account, token, from, amount: '5' },
    },
  ])
  expect([created, rejected]).toEqual([[], []])
})

function deposited({ by, token }: { by: Address; token: Address }): Log<bigint, number, false> {
  const topics = encodeEventTopics({
    abi: prepaidReserveAbi,
    eventName: 'Deposited',
    args: { account, token, from },
  }) as Log['topics']
  return {
    address: by,
    topics,
    data: encodeAbiParameters([{ type: 'uint256' }], [5n]),
    blockNumber: 7n,
    blockHash: hash,
    blockTimestamp: undefined,
    logIndex: 3,
    transactionHash: hash,
    transactionIndex: 0,
    removed: false,
  } as Log<bigint, number, false>
}
