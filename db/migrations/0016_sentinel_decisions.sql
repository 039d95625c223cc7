-- What owners decided about incidents of their grants. Append-only: a change of mind is another row.

CREATE TABLE sentinel_decision (
  id text PRIMARY KEY CHECK (id LIKE 'dcs\_%'),
  incident_id text NOT NULL REFERENCES sentinel_incident (id),
  grant_id hex_bytes32 NOT NULL REFERENCES "grant" (grant_id),
  account evm_address NOT NULL,
  -- confirm: it was the owner, let it go on. reject: stop it for good.
  decision text NOT NULL CHECK (decision IN ('confirm', 'reject')),
  actor text NOT NULL,
  decided_at timestamptz(3) NOT NULL,
  -- The same again is no other decision.
  CONSTRAINT sentinel_decision_once UNIQUE (incident_id, decision)
);
CREATE INDEX sentinel_decision_grant ON sentinel_decision (grant_id, id);

SELECT stream_protect('sentinel_decision', 'false', 'SELECT');
SELECT stream_admit_owner('sentinel_decision', 'account = stream_account()', 'SELECT');
GRANT SELECT, INSERT ON sentinel_decision TO stream_service;
GRANT SELECT ON sentinel_decision TO stream_owner;
