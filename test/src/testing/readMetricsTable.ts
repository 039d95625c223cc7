export type ListedMetric = { name: string; kind: string; labels: string[]; service: string }

/** The table of docs/metrics.md: name, kind, labels, the process that tells it. */
export function readMetricsTable(text: string): ListedMetric[] {
  const rows = [...text.matchAll(/^\| `(\w+)` +\| (\w+) +\| ([^|]*)\| (\w+) +\|/gm)]
  return rows.map(([, name = '', kind = '', labels = '', service = '']) => ({
    name,
    kind,
    labels: [...labels.matchAll(/`(\w+)`/g)].map(([, label = '']) => label),
    service,
  }))
}
