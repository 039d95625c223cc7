import type { ApiKeyScope } from '@protocolbanks/stream-db'

/**
 * What each route below `/api` asks of an API key; `any`: that it is one. A route of the management API that is not here is not
 * served. Those of the charges API are an app of their own, which asks for theirs itself (chargingCaller.ts).
 */
export const routeScopes: Readonly<Record<string, ApiKeyScope | 'any'>> = {
  'GET /chain': 'any',

  'GET /merchants': 'merchants:read',
  'POST /merchants': 'merchants:write',
  'GET /merchants/:id': 'merchants:read',
  'GET /merchants/:id/credit': 'merchants:read',
  'PUT /merchants/:id/credit': 'merchants:write',

  'GET /api-keys': 'keys:read',
  'POST /api-keys': 'keys:write',
  'POST /api-keys/:id/rotate': 'keys:write',
  'DELETE /api-keys/:id': 'keys:write',

  'GET /services': 'services:read',
  'POST /services': 'services:write',
  'GET /services/:id': 'services:read',
  'PATCH /services/:id': 'services:write',
  'DELETE /services/:id': 'services:write',

  'POST /charges': 'charges:write',
  'POST /charges/:ticket/capture': 'charges:write',
  'POST /charges/:ticket/extend': 'charges:write',
  'POST /charges/:ticket/settle': 'charges:write',
  'POST /charges/:ticket/served': 'charges:write',
  'POST /charges/:ticket/release': 'charges:write',

  'GET /session-keys': 'grants:read',
  'POST /session-keys': 'grants:write',
  'GET /session-keys/:sessionKey': 'grants:read',
  'DELETE /session-keys/:sessionKey': 'grants:write',
  'GET /session-keys/:sessionKey/usage': 'grants:read',
  'POST /session-keys/:sessionKey/freeze': 'grants:write',
  'POST /session-keys/:sessionKey/unfreeze': 'grants:write',
  'GET /session-keys/:sessionKey/limits': 'grants:read',
  'PUT /session-keys/:sessionKey/limits': 'grants:write',

  'GET /receipts': 'receipts:read',
  'GET /receipts/:requestId': 'receipts:read',

  'GET /settlements': 'settlements:read',
  'POST /settlements': 'settlements:write',
  'GET /settlements/:id': 'settlements:read',
  'POST /settlements/:id/retry': 'settlements:write',
  'POST /settlements/:id/write-off': 'settlements:write',

  'GET /reconciliations': 'reconciliations:read',
  'POST /reconciliations': 'reconciliations:write',
  'GET /reconciliations/:id': 'reconciliations:read',

  'GET /audit': 'audit:read',
  'GET /traces/:id': 'traces:read',
  'GET /usage/feed': 'usage:read',
  'POST /usage/refusals': 'usage:write',
  'GET /usage-quarantine': 'usage:read',

  'GET /incidents': 'incidents:read',
  'GET /incidents/:id': 'incidents:read',
  'POST /incidents/:id/acknowledge': 'incidents:write',
  'POST /incidents/:id/close': 'incidents:write',

  // Before `/rules/:id`, which fits them too.
  'POST /rules/holds/:id/apply': 'rules:write',
  'GET /rules/allow-list': 'rules:read',
  'POST /rules/allow-list': 'rules:write',
  'DELETE /rules/allow-list/:id': 'rules:write',
  'GET /rules/dry-runs': 'rules:read',
  'POST /rules/dry-runs': 'rules:write',
  'GET /rules/dry-runs/:id': 'rules:read',
  'GET /rules': 'rules:read',
  'POST /rules': 'rules:write',
  'GET /rules/:id': 'rules:read',
  'PATCH /rules/:id': 'rules:write',
  'DELETE /rules/:id': 'rules:write',
  'GET /rules/:id/versions': 'rules:read',
  'POST /rules/:id/live': 'rules:write',
  'POST /rules/:id/off': 'rules:write',

  'GET /webhooks': 'webhooks:read',
  'POST /webhooks': 'webhooks:write',
  'GET /webhooks/:id': 'webhooks:read',
  'PATCH /webhooks/:id': 'webhooks:write',
  'DELETE /webhooks/:id': 'webhooks:write',
  'POST /webhooks/:id/rotate-secret': 'webhooks:write',
  'POST /webhooks/:id/test': 'webhooks:write',
  'GET /webhooks/:id/deliveries': 'webhooks:read',
  'GET /webhooks/:id/deliveries/:deliveryId': 'webhooks:read',
  'POST /webhooks/:id/deliveries/:deliveryId/replay': 'webhooks:write',

  'GET /alert-channels': 'alerts:read',
  'POST /alert-channels': 'alerts:write',
  'GET /alert-channels/:id': 'alerts:read',
  'DELETE /alert-channels/:id': 'alerts:write',
  'POST /alert-channels/:id/verification': 'alerts:write',
  'POST /alert-channels/:id/test': 'alerts:write',
  'GET /alert-channels/:id/deliveries': 'alerts:read',
}
