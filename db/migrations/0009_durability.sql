-- What makes the loss of the meter's store, and of trust in it, harmless: generations of the meter, the processes that
-- charge, and the usage events that the journal refused.

-- Each partition of the meter counts in one generation. When the store has lost anything, the generation is closed, every
-- process writes what it charged in it to the journal, and a new one is opened and filled from here.
CREATE TABLE meter_generation (
  partition smallint PRIMARY KEY CHECK (partition BETWEEN 0 AND 255),
  -- Rises; not below the unix time of its beginning, so that a restored backup never gives a number twice.
  generation bigint NOT NULL CHECK (generation > 0),
  state text NOT NULL CHECK (state IN ('closed', 'open')),
  -- The run of the store that it was opened on; empty where the store does not tell.
  store_run text NOT NULL DEFAULT '',
  -- The newest charge of this partition in the journal when the generation before was closed.
  journalled_at timestamptz(3),
  reason text CHECK (length(reason) BETWEEN 1 AND 500),
  changed_at timestamptz(3) NOT NULL DEFAULT now()
);

-- Processes that charge. `acknowledged`: per partition the generation before which all their charges are journalled.
CREATE TABLE meter_process (
  instance text PRIMARY KEY CHECK (length(instance) BETWEEN 1 AND 200),
  acknowledged bigint[] NOT NULL,
  seen_at timestamptz(3) NOT NULL DEFAULT now()
);
CREATE INDEX meter_process_seen ON meter_process (seen_at);

-- Usage events that the journal did not take. Kept for the operator, changed by nobody.
CREATE TABLE usage_quarantine (
  id text PRIMARY KEY CHECK (id LIKE 'uqr\_%'),
  -- As the meter's stream brought it. The same event is kept once.
  event_id text NOT NULL CONSTRAINT usage_quarantine_event UNIQUE CHECK (length(event_id) BETWEEN 1 AND 200),
  reason text NOT NULL CHECK (reason IN (
    'malformed', 'future', 'stale', 'duplicate', 'altered', 'grant_unknown', 'account_mismatch', 'service_unknown',
    'merchant_mismatch', 'payee_mismatch', 'signature_invalid', 'voucher_exceeded', 'rejected'
  )),
  detail text NOT NULL CHECK (length(detail) BETWEEN 1 AND 1000),
  -- What came, whatever it was. json and not jsonb: a zero byte in it is no reason to lose it.
  event json NOT NULL,
  created_at timestamptz(3) NOT NULL DEFAULT now()
);

-- One request is charged once, under whatever event id it comes again.
CREATE INDEX charge_request ON charge (request_id);

SELECT stream_protect('meter_generation', 'false', 'SELECT');
SELECT stream_protect('meter_process', 'false', 'SELECT');
SELECT stream_protect('usage_quarantine', 'false', 'SELECT');

GRANT SELECT, INSERT, UPDATE ON meter_generation TO stream_service;
GRANT SELECT, INSERT, UPDATE, DELETE ON meter_process TO stream_service;
-- Append-only, by privilege.
GRANT SELECT, INSERT ON usage_quarantine TO stream_service;
