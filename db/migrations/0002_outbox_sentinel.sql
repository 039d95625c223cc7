-- What leaves the system (webhooks, alerts), and what the sentinel saw and did.

CREATE TABLE outbox (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  topic text NOT NULL,
  -- NULL: for the operator.
  merchant_id text REFERENCES merchant (id),
  payload jsonb NOT NULL,
  attempts integer NOT NULL DEFAULT 0,
  -- Not before this moment: somebody is delivering it, or the last try failed.
  available_at timestamptz(3) NOT NULL DEFAULT now(),
  created_at timestamptz(3) NOT NULL DEFAULT now(),
  published_at timestamptz(3)
);
CREATE INDEX outbox_waiting ON outbox (available_at, id) WHERE published_at IS NULL;
CREATE INDEX outbox_merchant ON outbox (merchant_id, id);

CREATE TABLE sentinel_event (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  -- alert, freeze, revoke and the like: the sentinel's words.
  kind text NOT NULL,
  rule text,
  account evm_address,
  grant_id hex_bytes32,
  -- NULL: about the grant as a whole.
  merchant_id text,
  detail jsonb NOT NULL,
  created_at timestamptz(3) NOT NULL DEFAULT now()
);
CREATE INDEX sentinel_event_grant ON sentinel_event (grant_id, id);
CREATE INDEX sentinel_event_merchant ON sentinel_event (merchant_id, id);

SELECT stream_protect('outbox', 'merchant_id = stream_merchant_id()', 'SELECT');
SELECT stream_protect('sentinel_event', 'merchant_id = stream_merchant_id()', 'SELECT');

GRANT SELECT, INSERT, UPDATE, DELETE ON outbox TO stream_service;
-- Append-only.
GRANT SELECT, INSERT ON sentinel_event TO stream_service;
GRANT SELECT ON outbox, sentinel_event TO stream_tenant;
