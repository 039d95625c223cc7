import { askBehaviour, createStreams, eventsOf } from '../../../../frameworks/behaviour.ts'

// The build evaluates this module too, when nothing runs yet.
// biome-ignore lint/style/noProcessEnv: Next.js has no other place for settings
const { GATEWAY_URL = 'http://127.0.0.1:1', CONTROL_URL = '' } = process.env

const routes = new Map(
  createStreams(GATEWAY_URL).map(([prefix, stream]) => [prefix, stream.route((request) => serve(stream, request))]),
)

async function serve(stream, request) {
  const text = await request.text()
  const { pathname } = new URL(request.url)
  const behaviour = await askBehaviour(CONTROL_URL, pathname, text === '' ? undefined : JSON.parse(text))
  if (behaviour.kind === 'throw') throw new Error(behaviour.message)
  if (behaviour.kind === 'answer') {
    if (behaviour.units !== undefined) stream.report(request, behaviour.units)
    return Response.json(behaviour.body, { status: behaviour.status })
  }
  const body = ReadableStream.from(eventsOf(behaviour, (units) => stream.report(request, units)))
  return new Response(body, { headers: { 'content-type': 'text/event-stream' } })
}

async function route(request, { params }) {
  const { priced } = await params
  return routes.get(priced)?.(request) ?? new Response('no such price', { status: 404 })
}

export const dynamic = 'force-dynamic'
export { route as GET, route as POST }
