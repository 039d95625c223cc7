/** What GET /ready of a service says: its status, and the dependencies that are not 'ok'. */
export async function readinessOf({ url }: { url: string }): Promise<{ status: number; failing: string[] }> {
  const response = await fetch(`${url}/ready`, { signal: AbortSignal.timeout(15_000) })
  const { checks } = (await response.json()) as { checks: Record<string, string> }
  const failing = Object.entries(checks).flatMap(([name, check]) => (check === 'ok' ? [] : [name]))
  return { status: response.status, failing }
}
