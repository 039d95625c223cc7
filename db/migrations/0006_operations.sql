-- What operators do by hand, what they write off, and what reconciliation finds. Nothing here is a merchant's to see.

CREATE TABLE audit_entry (
  id text PRIMARY KEY CHECK (id LIKE 'aud\_%'),
  -- An API key's id, `operator` for the key of the configuration, `unknown` for a key that is none.
  actor text NOT NULL CHECK (length(actor) BETWEEN 1 AND 200),
  action text NOT NULL CHECK (action ~ '^[a-z]+(_[a-z]+)*$'),
  outcome text NOT NULL CHECK (outcome IN ('done', 'refused')),
  -- What it was about: an id, or the route that was refused.
  subject text NOT NULL CHECK (length(subject) BETWEEN 1 AND 300),
  -- Why, in the operator's words.
  note text CHECK (length(note) BETWEEN 1 AND 500),
  -- Of the refusal.
  error_code text,
  -- What the subject was and what it became; NULL where nothing changed.
  before jsonb,
  after jsonb,
  created_at timestamptz(3) NOT NULL DEFAULT now()
);
CREATE INDEX audit_entry_subject ON audit_entry (subject, id);
-- Refusals of an actor are counted before another is written.
CREATE INDEX audit_entry_refused ON audit_entry (actor, created_at) WHERE outcome = 'refused';

-- Dead settlements whose debt an operator gave up. The settlement keeps its row, the chain and the journal theirs.
CREATE TABLE settlement_write_off (
  settlement_id text PRIMARY KEY REFERENCES settlement (id),
  reason text NOT NULL CHECK (reason IN ('grant_ended', 'voucher_invalid', 'funds_gone', 'payee_blocked', 'agreed', 'other')),
  note text NOT NULL CHECK (length(note) BETWEEN 1 AND 500),
  actor text NOT NULL,
  -- What was open then, base units.
  amount uint128 NOT NULL,
  created_at timestamptz(3) NOT NULL DEFAULT now()
);

CREATE TABLE reconciliation (
  id text PRIMARY KEY CHECK (id LIKE 'rec\_%'),
  state text NOT NULL CHECK (state IN ('requested', 'running', 'done', 'failed')),
  trigger text NOT NULL CHECK (trigger IN ('schedule', 'request')),
  -- NULL: all grants.
  grant_id hex_bytes32,
  actor text NOT NULL,
  lease_owner text,
  lease_until timestamptz(3),
  -- The block whose state was compared.
  block_number bigint,
  -- Sums over what was compared, base units, as strings.
  totals jsonb,
  -- All that were found; so many rows are kept at most as the code says.
  differences integer CHECK (differences >= 0),
  error_code text,
  error_message text,
  created_at timestamptz(3) NOT NULL DEFAULT now(),
  finished_at timestamptz(3),
  CHECK ((state = 'running') = (lease_owner IS NOT NULL AND lease_until IS NOT NULL)),
  CHECK (state <> 'done' OR (totals IS NOT NULL AND differences IS NOT NULL AND block_number IS NOT NULL))
);
-- One at a time, over all processes.
CREATE UNIQUE INDEX reconciliation_one_running ON reconciliation ((true)) WHERE state = 'running';
CREATE INDEX reconciliation_waiting ON reconciliation (id) WHERE state = 'requested';
CREATE INDEX reconciliation_newest ON reconciliation (trigger, state, created_at);

CREATE TABLE reconciliation_difference (
  reconciliation_id text NOT NULL REFERENCES reconciliation (id),
  position integer NOT NULL CHECK (position >= 0),
  kind text NOT NULL,
  grant_id hex_bytes32 NOT NULL,
  payee evm_address NOT NULL,
  -- Base units: what the authority says, and what its copy or counterpart says.
  expected uint128 NOT NULL,
  actual uint128 NOT NULL,
  detail text NOT NULL,
  PRIMARY KEY (reconciliation_id, position)
);
CREATE INDEX reconciliation_difference_grant ON reconciliation_difference (grant_id);

-- What the chain did with a grant is compared from a block on.
CREATE INDEX chain_event_settled ON chain_event (block_number, log_index) WHERE name = 'Settled';
CREATE INDEX settlement_confirmed ON settlement (block_number) WHERE state = 'confirmed';

SELECT stream_protect('audit_entry', 'false', 'SELECT');
SELECT stream_protect('settlement_write_off', 'false', 'SELECT');
SELECT stream_protect('reconciliation', 'false', 'SELECT');
SELECT stream_protect('reconciliation_difference', 'false', 'SELECT');

-- Append-only, by privilege.
GRANT SELECT, INSERT ON audit_entry, settlement_write_off, reconciliation_difference TO stream_service;
GRANT SELECT, INSERT, UPDATE ON reconciliation TO stream_service;
