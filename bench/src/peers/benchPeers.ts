import { type Load, load } from '../load.ts'
import { machine } from '../machine.ts'
import { median } from '../median.ts'
import { signPayments } from '../scenario.ts'
import { startServer } from '../startServer.ts'
import { type Peer, paths } from './peerTerms.ts'
import { type Payments, signBatchPayments, signExactPayments, signMppPayments } from './signPeerPayments.ts'
import { type Peers, startPeers } from './startPeers.ts'

const settings = [
  { connections: 1, free: 2_000, ours: 2_000, batch: 100, exact: 30, mpp: 30 },
  { connections: 64, free: 12_800, ours: 12_800, batch: 640, exact: 192, mpp: 192 },
]
/** Until the journal has what was charged: that is work for a paid call too. */
const settleMs = 500

type Figures = Load & { cpuUs: number; facilitatorUs: number }
type Route = 'free' | 'ours' | Peer

/** Prints the table, and answers with the figures. Routes are measured in turn, so that what else the machine does touches all. */
export async function benchPeers({ rounds }: { rounds: number }): Promise<object> {
  const ours = await startServer()
  try {
    const peers = await startPeers()
    try {
      const results = await measure(ours, peers, rounds)
      const gas = await gasPerPayment(peers)
      console.log(
        `\n${machine()}\nmedians of ${rounds} rounds; versions: @x402/* 2.27.0, mppx 0.11.0; our meter: ${ours.meter}\n`,
      )
      console.table(results)
      console.log(`Gas of one exact payment, which evm/charge settles alike: ${gas}`)
      return { machine: machine(), meter: ours.meter, rounds, results, gasOfExact: Number(gas) }
    } finally {
      await peers.stop()
    }
  } finally {
    await ours.stop()
  }
}

async function measure(ours: Awaited<ReturnType<typeof startServer>>, peers: Peers, rounds: number) {
  let signed = 0
  let channels = 0
  const cpu = async () => {
    const { server, facilitator } = await peers.cpuUs()
    return { own: await ours.cpuUs(), server, facilitator }
  }

  async function payments(
    route: Route,
    connections: number,
    amount: number,
  ): Promise<Payments | { headers: string[] } | undefined> {
    if (route === 'free') return undefined
    if (route === 'exact') return signExactPayments(peers, { connections, amount })
    if (route === 'mpp') return signMppPayments(peers, { connections, amount })
    if (route === 'batch') {
      channels += connections
      return signBatchPayments(peers, { connections, amount, firstChannel: channels })
    }
    signed += amount
    return { headers: signPayments(ours.service, signed - amount, amount) }
  }

  async function round(route: Route, connections: number, amount: number): Promise<Figures> {
    const paid = await payments(route, connections, amount)
    const url =
      route === 'free' || route === 'ours'
        ? `${ours.url}/${route === 'free' ? 'free' : 'paid'}`
        : `${peers.url}${paths[route]}`
    const before = await cpu()
    const figures = await load({ url, connections, amount, ...paid })
    if (route === 'ours') await new Promise((resolve) => setTimeout(resolve, settleMs))
    const after = await cpu()
    const used = after.own - before.own + after.server - before.server
    return {
      ...figures,
      cpuUs: Math.round(used / amount),
      facilitatorUs: Math.round((after.facilitator - before.facilitator) / amount),
    }
  }

  const routes: Route[] = ['free', 'ours', 'batch', 'exact', 'mpp']
  // Compiled and connected before anything counts.
  for (const route of routes) await round(route, 64, route === 'free' || route === 'ours' ? 5_120 : 128)

  const results = []
  for (const { connections, ...amounts } of settings) {
    const all = new Map<Route, Figures[]>()
    for (let turn = 0; turn < rounds; turn += 1) {
      for (const route of routes) {
        all.set(route, [...(all.get(route) ?? []), await round(route, connections, amounts[route])])
      }
    }
    const medians = routes.map((route) => ({ route, ...median(all.get(route) ?? []) }))
    const rateOf = (wanted: Route) => medians.find(({ route }) => route === wanted)?.requestsPerSecond ?? 0
    for (const figures of medians) {
      results.push({
        connections,
        ...figures,
        ofFree: Number((figures.requestsPerSecond / rateOf('free')).toFixed(4)),
        oursIsTimes: Number((rateOf('ours') / figures.requestsPerSecond).toFixed(1)),
      })
    }
  }
  return results
}

/** Of the last payment that the chain settled, which is one of many between the same two. */
async function gasPerPayment({ clients: { publicClient } }: Peers): Promise<bigint> {
  const { gasUsed } = await publicClient.getBlock({ blockTag: 'latest' })
  return gasUsed
}
