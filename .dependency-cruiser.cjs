// The import arrows of docs/architecture.md. A violation fails the lint.
const packages = [
  'protocol',
  'bundler-client',
  'contracts',
  'db',
  'runtime',
  'rules',
  'gateway',
  'settlement',
  'paymaster',
  'sentinel',
  'sdk',
  'mcp',
  'cli',
  'dev',
  'test',
  'bench',
  'examples',
]

/** What each package may import, besides itself. dev, test, bench and examples assemble the others. */
const allowed = {
  protocol: [],
  'bundler-client': ['protocol'],
  contracts: ['protocol'],
  db: ['protocol'],
  sdk: ['protocol'],
  // Tools for language models, over the agent's side of the SDK: kept out of it, because the SDK stays small.
  mcp: ['protocol', 'sdk'],
  cli: ['protocol'],
  runtime: ['protocol'],
  rules: ['protocol'],
  gateway: ['protocol', 'db', 'bundler-client', 'runtime', 'rules'],
  paymaster: ['protocol', 'db', 'bundler-client', 'runtime'],
  settlement: ['protocol', 'db', 'bundler-client', 'runtime'],
  sentinel: ['protocol', 'db', 'bundler-client', 'runtime', 'rules'],
}

const arrows = Object.entries(allowed).map(([from, to]) => ({
  name: `arrow-${from}`,
  comment: `${from} may import only: ${to.join(', ') || 'nothing of ours'}`,
  severity: 'error',
  from: { path: `^${from}/` },
  to: { path: `^(${packages.filter((name) => name !== from && !to.includes(name)).join('|')})/` },
}))

module.exports = {
  forbidden: [
    ...arrows,
    { name: 'no-circular', severity: 'error', from: {}, to: { circular: true } },
    { name: 'not-to-unresolvable', severity: 'error', from: {}, to: { couldNotResolve: true } },
    {
      name: 'sql-only-in-db',
      comment: 'db is the only place with SQL',
      severity: 'error',
      from: { path: '^(protocol|bundler-client|sdk|mcp|runtime|rules|gateway|settlement|paymaster|sentinel)/' },
      to: { path: 'node_modules/(pg|drizzle-orm)/' },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    exclude: { path: '(^|/)dist/' },
    tsPreCompilationDeps: true,
    combinedDependencies: true,
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'node', 'default', 'types'],
      extensions: ['.ts', '.tsx', '.js', '.json'],
    },
  },
}
