import type { Bundler, Sponsor } from '@protocolbanks/stream-bundler-client'
import { inSpan, type Tracing } from '@protocolbanks/stream-runtime'
import type { InclusionWatcher } from '../inclusion/inclusionWatcher.ts'

// The same bundler, paymaster and watcher, whose calls are spans of the settlement that makes them.

export function traceBundler(bundler: Bundler, tracing: Tracing): Bundler {
  return {
    ...bundler,
    fees: () => inSpan(tracing, 'ask for fees', {}, () => bundler.fees()),
    estimate: (op) => inSpan(tracing, 'estimate', {}, () => bundler.estimate(op)),
    send: (op) => inSpan(tracing, 'send', {}, () => bundler.send(op)),
  }
}

export function traceSponsor(sponsor: Sponsor, tracing: Tracing): Sponsor {
  return {
    stub: (op) => inSpan(tracing, 'sponsor stub', {}, () => sponsor.stub(op)),
    sponsor: (op) => inSpan(tracing, 'sponsor', {}, () => sponsor.sponsor(op)),
  }
}

export function traceWatcher(watcher: InclusionWatcher, tracing: Tracing): InclusionWatcher {
  return {
    ...watcher,
    wait: (userOpHash, options) =>
      inSpan(tracing, 'inclusion', { 'stream.user_operation.hash': userOpHash }, () =>
        watcher.wait(userOpHash, options),
      ),
  }
}
