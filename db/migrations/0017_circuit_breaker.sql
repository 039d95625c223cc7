-- The circuit breaker of each grant, what is done with vouchers that were accepted before a stop, and the proof of each
-- stop of a batch. Every step is a row of sentinel_event besides.

-- closed: nothing stops it. open: refused by the gateways, and being stopped on the chain. half_open: its owner lets it go
-- on, and it is watched more closely for a while. revoked: for good.
CREATE TABLE sentinel_breaker (
  grant_id hex_bytes32 PRIMARY KEY REFERENCES "grant" (grant_id),
  account evm_address NOT NULL,
  state text NOT NULL CHECK (state IN ('closed', 'open', 'half_open', 'revoked')),
  since timestamptz(3) NOT NULL,
  -- What opened it last.
  incident_id text NOT NULL REFERENCES sentinel_incident (id),
  -- Of half_open: since when the gateways serve it again. NULL: not yet.
  lifted_at timestamptz(3) CHECK (lifted_at IS NULL OR state IN ('half_open', 'closed')),
  updated_at timestamptz(3) NOT NULL
);
CREATE INDEX sentinel_breaker_moving ON sentinel_breaker (since) WHERE state IN ('open', 'half_open');

-- What was stopped before there were breakers.
INSERT INTO sentinel_breaker (grant_id, account, state, since, incident_id, updated_at)
SELECT DISTINCT ON (s.grant_id) s.grant_id, s.account,
  CASE WHEN s.kind = 'revoke' AND s.chain_state = 'confirmed' THEN 'revoked' ELSE 'open' END, s.created_at, s.incident_id,
  s.updated_at
FROM sentinel_stop s JOIN sentinel_incident i ON i.id = s.incident_id
WHERE i.state <> 'closed'
ORDER BY s.grant_id, s.kind DESC, s.id DESC;

ALTER TABLE sentinel_incident
  -- hold: claims wait for the owner. settle: what was accepted is settled before the freeze on the chain.
  ADD COLUMN voucher_policy text NOT NULL DEFAULT 'hold' CHECK (voucher_policy IN ('hold', 'settle')),
  -- Base units that were accepted and not settled: when it was opened, then when the chain had stopped the grant.
  ADD COLUMN accepted uint128 NOT NULL DEFAULT 0;
CREATE INDEX sentinel_incident_moving ON sentinel_incident (last_found_at) WHERE state <> 'closed';

ALTER TABLE sentinel_stop
  -- Until then what was accepted is settled first. NULL: it is stopped at once.
  ADD COLUMN settle_until timestamptz(3),
  -- Of the event that proves it, in its block; NULL where somebody else had stopped the grant.
  ADD COLUMN log_index integer CHECK (log_index >= 0);
CREATE INDEX sentinel_stop_grant ON sentinel_stop (grant_id, created_at);

-- What owners want done with vouchers that were accepted before a stop, for one grant or, without one, for all of theirs.
CREATE TABLE voucher_policy (
  account evm_address NOT NULL,
  grant_id hex_bytes32 REFERENCES "grant" (grant_id),
  policy text NOT NULL CHECK (policy IN ('hold', 'settle')),
  actor text NOT NULL,
  set_at timestamptz(3) NOT NULL DEFAULT now(),
  CONSTRAINT voucher_policy_one UNIQUE NULLS NOT DISTINCT (account, grant_id)
);
CREATE INDEX voucher_policy_grant ON voucher_policy (grant_id);

-- When a sentinel that hears what is charged said so last.
CREATE TABLE sentinel_heartbeat (
  name text PRIMARY KEY,
  heard_at timestamptz(3) NOT NULL
);

SELECT stream_protect('sentinel_breaker', 'false', 'SELECT');
SELECT stream_admit_owner('sentinel_breaker', 'account = stream_account()', 'SELECT');
SELECT stream_protect('voucher_policy', 'false', 'SELECT');
SELECT stream_admit_owner('voucher_policy',
  'account = stream_account() AND (grant_id IS NULL OR stream_owns_grant(grant_id))', 'ALL');
SELECT stream_protect('sentinel_heartbeat', 'false', 'SELECT');
GRANT SELECT, INSERT, UPDATE ON sentinel_breaker, sentinel_heartbeat TO stream_service;
GRANT SELECT, INSERT, UPDATE, DELETE ON voucher_policy TO stream_service;
GRANT SELECT ON sentinel_breaker TO stream_owner;
GRANT SELECT, INSERT, DELETE, UPDATE (policy, actor, set_at) ON voucher_policy TO stream_owner;

-- What is told: also how much is concerned, and what is done with it --------------------------------------------------

CREATE OR REPLACE FUNCTION webhook_tell_of_incident(topic text, told_incident text, more jsonb) RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER
  SET search_path = pg_catalog, public
AS $$
DECLARE
  i sentinel_incident;
  payload jsonb;
BEGIN
  SELECT * INTO STRICT i FROM sentinel_incident WHERE id = told_incident;
  payload := jsonb_build_object('incidentId', i.id, 'grantId', i.grant_id, 'account', i.account,
    'token', (SELECT g.token FROM "grant" g WHERE g.grant_id = i.grant_id),
    'rule', i.rule, 'action', i.action, 'severity', i.severity, 'explanation', i.explanation,
    'voucherPolicy', i.voucher_policy, 'acceptedAtomic', i.accepted::text) || more;
  PERFORM webhook_tell_owner(i.account, topic, payload);
  INSERT INTO outbox (topic, payload) VALUES (topic, payload);
END
$$;
