-- What the sentinel found, how far its stops are, and what it remembers of each grant. Every step is a row of
-- sentinel_event besides, which nobody can change.

CREATE TABLE sentinel_incident (
  id text PRIMARY KEY CHECK (id LIKE 'inc\_%'),
  grant_id hex_bytes32 NOT NULL REFERENCES "grant" (grant_id),
  account evm_address NOT NULL,
  -- What found it, and which version of it.
  rule text NOT NULL,
  rule_version integer NOT NULL CHECK (rule_version > 0),
  action text NOT NULL CHECK (action IN ('alert', 'freeze', 'revoke')),
  state text NOT NULL CHECK (state IN ('open', 'acknowledged', 'closed')),
  -- The charge that opened it.
  payee evm_address NOT NULL,
  request_id text NOT NULL,
  charged_at timestamptz(3) NOT NULL,
  -- What the rule compared, as strings, and the same in one sentence.
  inputs jsonb NOT NULL,
  explanation text NOT NULL,
  findings integer NOT NULL DEFAULT 1 CHECK (findings > 0),
  opened_at timestamptz(3) NOT NULL,
  last_found_at timestamptz(3) NOT NULL,
  closed_at timestamptz(3),
  CHECK ((state = 'closed') = (closed_at IS NOT NULL))
);
-- What is found again while it is open belongs to it: nothing is done twice, whoever finds it.
CREATE UNIQUE INDEX sentinel_incident_one_open ON sentinel_incident (grant_id, rule) WHERE state <> 'closed';
CREATE INDEX sentinel_incident_grant ON sentinel_incident (grant_id, id);

-- A grant that is stopped: at the gateways first, on the chain by the guardian.
CREATE TABLE sentinel_stop (
  id text PRIMARY KEY CHECK (id LIKE 'stp\_%'),
  incident_id text NOT NULL REFERENCES sentinel_incident (id),
  grant_id hex_bytes32 NOT NULL REFERENCES "grant" (grant_id),
  account evm_address NOT NULL,
  kind text NOT NULL CHECK (kind IN ('freeze', 'revoke')),
  -- Since when no gateway serves the grant; NULL: not yet.
  refused_at timestamptz(3),
  -- due: to be sent. sent: a transaction may be on its way. confirmed: the chain says so. impossible: it never will.
  chain_state text NOT NULL CHECK (chain_state IN ('due', 'sent', 'confirmed', 'impossible')),
  -- Of the guardian; all that replace a transaction have the same.
  nonce bigint CHECK (nonce >= 0),
  raw_transaction hex_bytes,
  -- Of all versions, oldest first.
  hashes text[] NOT NULL DEFAULT '{}',
  sent_at timestamptz(3),
  -- The one that was included; NULL where somebody else had stopped the grant.
  tx_hash hex_bytes32,
  block_number bigint,
  error_code text,
  created_at timestamptz(3) NOT NULL,
  updated_at timestamptz(3) NOT NULL,
  CHECK (chain_state <> 'sent' OR (nonce IS NOT NULL AND raw_transaction IS NOT NULL AND cardinality(hashes) > 0))
);
CREATE UNIQUE INDEX sentinel_stop_one_open ON sentinel_stop (grant_id, kind) WHERE chain_state IN ('due', 'sent');
CREATE INDEX sentinel_stop_unrefused ON sentinel_stop (created_at) WHERE refused_at IS NULL;

-- What the sentinel remembers of a grant; a cache of the journal.
CREATE TABLE sentinel_grant_state (
  grant_id hex_bytes32 PRIMARY KEY REFERENCES "grant" (grant_id),
  state text NOT NULL,
  updated_at timestamptz(3) NOT NULL
);

-- Up to where the states above know the charges. One sentinel writes them, the others keep theirs in memory.
CREATE TABLE sentinel_cursor (
  name text PRIMARY KEY,
  -- Every charge before this moment is in the states.
  journal_until timestamptz(3) NOT NULL,
  -- Which later ones are, in the sentinel's own words.
  position text NOT NULL,
  writer text NOT NULL,
  writer_until timestamptz(3) NOT NULL
);

SELECT stream_protect('sentinel_incident', 'false', 'SELECT');
SELECT stream_protect('sentinel_stop', 'false', 'SELECT');
SELECT stream_protect('sentinel_grant_state', 'false', 'SELECT');
SELECT stream_protect('sentinel_cursor', 'false', 'SELECT');
GRANT SELECT, INSERT, UPDATE ON sentinel_incident, sentinel_stop, sentinel_grant_state, sentinel_cursor TO stream_service;

-- Webhooks ------------------------------------------------------------------------------------------------------------
-- To the owner of the account and to the operator, in the transaction of the change.

CREATE FUNCTION webhook_tell_of_incident(topic text, told_incident text, more jsonb) RETURNS void
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
    'rule', i.rule, 'action', i.action, 'explanation', i.explanation) || more;
  PERFORM webhook_tell_owner(i.account, topic, payload);
  INSERT INTO outbox (topic, payload) VALUES (topic, payload);
END
$$;

CREATE FUNCTION webhook_incident_changed() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER
  SET search_path = pg_catalog, public
AS $$
BEGIN
  IF TG_OP = 'INSERT' THEN
    PERFORM webhook_tell_of_incident('incident.opened', NEW.id,
      jsonb_build_object('requestId', NEW.request_id, 'payee', NEW.payee, 'inputs', NEW.inputs));
  ELSIF NEW.state = 'closed' AND OLD.state <> 'closed' THEN
    PERFORM webhook_tell_of_incident('incident.closed', NEW.id, jsonb_build_object('findings', NEW.findings));
  END IF;
  RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER webhook_incident_changed AFTER INSERT OR UPDATE OF state ON sentinel_incident
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION webhook_incident_changed();

CREATE FUNCTION webhook_stop_confirmed() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER
  SET search_path = pg_catalog, public
AS $$
BEGIN
  PERFORM webhook_tell_of_incident('incident.stopped', NEW.incident_id,
    jsonb_build_object('kind', NEW.kind, 'txHash', NEW.tx_hash, 'blockNumber', NEW.block_number::text));
  RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER webhook_stop_confirmed AFTER UPDATE OF chain_state ON sentinel_stop
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
  WHEN (NEW.chain_state = 'confirmed' AND OLD.chain_state <> 'confirmed') EXECUTE FUNCTION webhook_stop_confirmed();

-- Only triggers call them.
REVOKE ALL ON FUNCTION webhook_tell_of_incident(text, text, jsonb), webhook_incident_changed(),
  webhook_stop_confirmed() FROM PUBLIC;
