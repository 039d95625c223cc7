import { PBStream } from '@protocolbanks/stream-sdk'
import { askBehaviour, eventsOf, options } from '../../../../frameworks/behaviour.ts'

// The build evaluates this module too, when nothing runs yet.
// biome-ignore lint/style/noProcessEnv: Next.js has no other place for settings
const { GATEWAY_URL = 'http://127.0.0.1:1', CONTROL_URL = '' } = process.env
const stream = new PBStream({ ...options, gatewayUrl: GATEWAY_URL })

const serve = stream.route(async (request) => {
  const text = await request.text()
  const { pathname } = new URL(request.url)
  const behaviour = await askBehaviour(CONTROL_URL, pathname, text === '' ? undefined : JSON.parse(text))
  if (behaviour.kind === 'throw') throw new Error(behaviour.message)
  if (behaviour.kind === 'answer') return Response.json(behaviour.body, { status: behaviour.status })
  const body = ReadableStream.from(eventsOf(behaviour))
  return new Response(body, { headers: { 'content-type': 'text/event-stream' } })
})

export const dynamic = 'force-dynamic'
export { serve as GET, serve as POST }
