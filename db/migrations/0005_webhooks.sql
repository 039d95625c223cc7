-- What merchants are told (Standard Webhooks): who writes events, and how they are delivered.

-- Endpoints, events and deliveries -------------------------------------------------------------------------------------

CREATE TABLE webhook_endpoint (
  id text PRIMARY KEY CHECK (id LIKE 'whep\_%'),
  merchant_id text NOT NULL REFERENCES merchant (id),
  url text NOT NULL CHECK (length(url) BETWEEN 1 AND 2000),
  description text CHECK (length(description) BETWEEN 1 AND 200),
  -- NULL: every type, those to come as well.
  event_types text[] CHECK (cardinality(event_types) BETWEEN 1 AND 100),
  state text NOT NULL CHECK (state IN ('enabled', 'disabled')),
  -- merchant: by hand. failures: nothing was taken for as long as a delivery is tried. gone: it answered 410.
  disabled_reason text CHECK (disabled_reason IN ('merchant', 'failures', 'gone')),
  disabled_at timestamptz(3),
  -- The first try that failed since the last that succeeded.
  failing_since timestamptz(3),
  -- Sealed by the gateway: without its key nobody can sign with what is here.
  secret text NOT NULL,
  -- Signs beside the new one until the overlap ends.
  previous_secret text,
  previous_secret_until timestamptz(3),
  created_at timestamptz(3) NOT NULL DEFAULT now(),
  updated_at timestamptz(3) NOT NULL DEFAULT now(),
  CHECK ((state = 'disabled') = (disabled_reason IS NOT NULL) AND (state = 'disabled') = (disabled_at IS NOT NULL)),
  CHECK ((previous_secret IS NULL) = (previous_secret_until IS NULL))
);
CREATE INDEX webhook_endpoint_merchant ON webhook_endpoint (merchant_id, id);

CREATE TABLE webhook_event (
  id text PRIMARY KEY CHECK (id LIKE 'whev\_%'),
  merchant_id text NOT NULL REFERENCES merchant (id),
  type text NOT NULL,
  data jsonb NOT NULL,
  occurred_at timestamptz(3) NOT NULL,
  created_at timestamptz(3) NOT NULL DEFAULT now()
);
CREATE INDEX webhook_event_merchant ON webhook_event (merchant_id, id);
CREATE INDEX webhook_event_created ON webhook_event (created_at);

CREATE TABLE webhook_delivery (
  id text PRIMARY KEY CHECK (id LIKE 'whdl\_%'),
  event_id text NOT NULL REFERENCES webhook_event (id) ON DELETE CASCADE,
  endpoint_id text NOT NULL REFERENCES webhook_endpoint (id) ON DELETE CASCADE,
  merchant_id text NOT NULL REFERENCES merchant (id),
  -- pending: to be tried, or tried again. failed: given up.
  state text NOT NULL CHECK (state IN ('pending', 'delivered', 'failed')),
  -- Tries begun, of at most so many. By hand it begins again.
  attempts integer NOT NULL DEFAULT 0 CHECK (attempts >= 0),
  max_attempts integer NOT NULL CHECK (max_attempts > 0),
  first_attempt_at timestamptz(3),
  -- While somebody delivers it: when their lease ends. NULL at the end.
  next_attempt_at timestamptz(3),
  lease_owner text,
  ended_at timestamptz(3),
  created_at timestamptz(3) NOT NULL DEFAULT now(),
  UNIQUE (event_id, endpoint_id),
  CHECK ((state = 'pending') = (next_attempt_at IS NOT NULL) AND (state = 'pending') = (ended_at IS NULL))
);
CREATE INDEX webhook_delivery_due ON webhook_delivery (endpoint_id, next_attempt_at, id) WHERE state = 'pending';
CREATE INDEX webhook_delivery_endpoint ON webhook_delivery (endpoint_id, id);
CREATE INDEX webhook_delivery_merchant ON webhook_delivery (merchant_id, id);

CREATE TABLE webhook_attempt (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  delivery_id text NOT NULL REFERENCES webhook_delivery (id) ON DELETE CASCADE,
  merchant_id text NOT NULL REFERENCES merchant (id),
  started_at timestamptz(3) NOT NULL,
  duration_ms integer NOT NULL CHECK (duration_ms >= 0),
  -- What was answered, its body cut off; or why there was no answer.
  status_code integer,
  response_body text CHECK (length(response_body) <= 2000),
  error text CHECK (length(error) BETWEEN 1 AND 500),
  CHECK (status_code IS NOT NULL OR error IS NOT NULL)
);
CREATE INDEX webhook_attempt_delivery ON webhook_attempt (delivery_id, id);
CREATE INDEX webhook_attempt_merchant ON webhook_attempt (merchant_id, id);

SELECT stream_protect('webhook_endpoint', 'merchant_id = stream_merchant_id()', 'ALL');
SELECT stream_protect('webhook_event', 'merchant_id = stream_merchant_id()', 'ALL');
SELECT stream_protect('webhook_delivery', 'merchant_id = stream_merchant_id()', 'ALL');
SELECT stream_protect('webhook_attempt', 'merchant_id = stream_merchant_id()', 'SELECT');

GRANT SELECT, INSERT, UPDATE, DELETE ON webhook_endpoint, webhook_event, webhook_delivery, webhook_attempt TO stream_service;
GRANT SELECT ON webhook_endpoint, webhook_event, webhook_delivery, webhook_attempt TO stream_tenant;
GRANT INSERT, UPDATE, DELETE ON webhook_endpoint TO stream_tenant;
-- Events to try an endpoint with, and deliveries sent again by hand.
GRANT INSERT ON webhook_event, webhook_delivery TO stream_tenant;
GRANT UPDATE (state, attempts, max_attempts, first_attempt_at, next_attempt_at, lease_owner, ended_at)
  ON webhook_delivery TO stream_tenant;

-- Who writes events ----------------------------------------------------------------------------------------------------
-- Triggers write to the outbox, in the transaction of the change: an event exists if and only if its change was
-- committed, whoever made it. They are deferred to the commit, when the rows around the change are complete. They run as
-- their owner, because a tenant may freeze a grant but write no message. Amounts in the payload are decimal strings of
-- base units, and addresses lower-case, as everywhere in the database.

-- A settlement got a new state, or one more attempt failed: told to each merchant with their own claim.
CREATE FUNCTION webhook_settlement_changed() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER
  SET search_path = pg_catalog, public
AS $$
DECLARE
  topic text := CASE
    -- A reorganisation took it back.
    WHEN OLD.state = 'confirmed' THEN 'settlement.reopened'
    WHEN NEW.state = 'confirmed' THEN 'settlement.confirmed'
    WHEN NEW.state = 'dead' THEN 'settlement.dead'
    ELSE 'settlement.failed'
  END;
BEGIN
  INSERT INTO outbox (topic, merchant_id, payload)
  SELECT topic, i.merchant_id,
    jsonb_build_object(
      'settlementId', NEW.id, 'grantId', NEW.grant_id, 'account', NEW.account, 'payee', i.payee, 'token', g.token,
      'amountAtomic', i.amount::text)
    || CASE topic
      WHEN 'settlement.confirmed' THEN jsonb_build_object(
        'paidAtomic', i.paid::text, 'skippedReason', i.skipped_reason, 'txHash', NEW.tx_hash,
        'blockNumber', NEW.block_number::text, 'userOpHash', NEW.user_op_hash)
      WHEN 'settlement.reopened' THEN jsonb_build_object('txHash', OLD.tx_hash, 'blockNumber', OLD.block_number::text)
      ELSE jsonb_build_object(
        'attempts', NEW.attempts, 'errorCode', NEW.error_code, 'errorMessage', NEW.error_message)
    END
  FROM settlement_item i LEFT JOIN "grant" g ON g.grant_id = NEW.grant_id
  WHERE i.settlement_id = NEW.id AND i.merchant_id IS NOT NULL
  ORDER BY i.merchant_id;
  RETURN NULL;
END
$$;

CREATE CONSTRAINT TRIGGER webhook_settlement_changed AFTER UPDATE OF state, attempts ON settlement
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
  WHEN (
    NEW.state IS DISTINCT FROM OLD.state AND (OLD.state = 'confirmed' OR NEW.state IN ('confirmed', 'dead'))
    OR NEW.state = 'failed' AND NEW.attempts > OLD.attempts
  )
  EXECUTE FUNCTION webhook_settlement_changed();

-- Tells the merchants that have a channel of the grant (or one of them) that something stops it, or no longer does.
-- `status` is the strictest of everything that can stop it for this merchant, as of the commit.
CREATE FUNCTION webhook_grant_changed(
  change text, changed_grant text, only_merchant text, changed_by text, why text
) RETURNS void
  LANGUAGE sql SECURITY DEFINER
  SET search_path = pg_catalog, public
AS $$
  INSERT INTO outbox (topic, merchant_id, payload)
  SELECT change, c.merchant_id, jsonb_build_object(
    'grantId', g.grant_id, 'account', g.account, 'token', g.token, 'by', changed_by, 'reason', why,
    'status', CASE
      WHEN g.status IN ('pending', 'none') THEN g.status
      WHEN g.status = 'revoked' OR a.epoch > g.epoch OR control.removed THEN 'revoked'
      WHEN g.status = 'frozen' OR a.account_frozen OR control.frozen THEN 'frozen'
      ELSE 'active' END)
  FROM "grant" g
  JOIN (SELECT DISTINCT grant_id, merchant_id FROM channel WHERE merchant_id IS NOT NULL) c ON c.grant_id = g.grant_id
  LEFT JOIN account a ON a.account = g.account AND a.token = g.token
  CROSS JOIN LATERAL (
    SELECT bool_or(gc.state = 'removed') AS removed, bool_or(gc.state = 'frozen') AS frozen FROM grant_control gc
    WHERE gc.grant_id = g.grant_id AND (gc.merchant_id IS NULL OR gc.merchant_id = c.merchant_id)
  ) control
  WHERE g.grant_id = changed_grant AND (only_merchant IS NULL OR c.merchant_id = only_merchant)
  ORDER BY c.merchant_id
$$;
REVOKE ALL ON FUNCTION webhook_grant_changed(text, text, text, text, text) FROM PUBLIC;

-- On-chain: the grant itself.
CREATE FUNCTION webhook_grant_status_changed() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER
  SET search_path = pg_catalog, public
AS $$
BEGIN
  PERFORM webhook_grant_changed(
    CASE NEW.status WHEN 'frozen' THEN 'grant.frozen' WHEN 'revoked' THEN 'grant.revoked' ELSE 'grant.unfrozen' END,
    NEW.grant_id, NULL, 'chain', NULL);
  RETURN NULL;
END
$$;

CREATE CONSTRAINT TRIGGER webhook_grant_status_changed AFTER UPDATE OF status ON "grant"
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
  WHEN (
    NEW.status IS DISTINCT FROM OLD.status
    AND (NEW.status IN ('frozen', 'revoked') OR NEW.status = 'active' AND OLD.status IN ('frozen', 'revoked'))
  )
  EXECUTE FUNCTION webhook_grant_status_changed();

-- On-chain: all grants of an account at once, and what it asks back from its reserve.
CREATE FUNCTION webhook_account_changed() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER
  SET search_path = pg_catalog, public
AS $$
BEGIN
  IF NEW.epoch > OLD.epoch THEN
    PERFORM webhook_grant_changed('grant.revoked', g.grant_id, NULL, 'chain', NULL) FROM "grant" g
    WHERE g.account = NEW.account AND g.token = NEW.token AND g.epoch >= OLD.epoch AND g.epoch < NEW.epoch
      AND g.status IN ('active', 'frozen');
  END IF;
  IF NEW.account_frozen IS DISTINCT FROM OLD.account_frozen THEN
    PERFORM webhook_grant_changed(
      CASE WHEN NEW.account_frozen THEN 'grant.frozen' ELSE 'grant.unfrozen' END, g.grant_id, NULL, 'chain', NULL)
    FROM "grant" g
    WHERE g.account = NEW.account AND g.token = NEW.token AND g.epoch = NEW.epoch AND g.status IN ('active', 'frozen');
  END IF;
  IF NEW.reserve_withdrawing > OLD.reserve_withdrawing THEN
    INSERT INTO outbox (topic, merchant_id, payload)
    SELECT DISTINCT 'reserve.withdrawal_requested', c.merchant_id, jsonb_build_object(
      'account', NEW.account, 'token', NEW.token, 'balanceAtomic', NEW.reserve_balance::text,
      'withdrawingAtomic', NEW.reserve_withdrawing::text, 'withdrawableAt', NEW.reserve_withdrawable_at)
    FROM "grant" g JOIN channel c ON c.grant_id = g.grant_id
    WHERE g.account = NEW.account AND g.token = NEW.token AND g.source = 'reserve' AND g.status IN ('active', 'frozen')
      AND g.epoch = NEW.epoch AND c.merchant_id IS NOT NULL;
  END IF;
  RETURN NULL;
END
$$;

CREATE CONSTRAINT TRIGGER webhook_account_changed
  AFTER UPDATE OF epoch, account_frozen, reserve_withdrawing ON account
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
  WHEN (
    NEW.epoch > OLD.epoch OR NEW.account_frozen IS DISTINCT FROM OLD.account_frozen
    OR NEW.reserve_withdrawing > OLD.reserve_withdrawing
  )
  EXECUTE FUNCTION webhook_account_changed();

-- Off-chain: freezes and removals at the gateway.
CREATE FUNCTION webhook_control_changed() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER
  SET search_path = pg_catalog, public
AS $$
DECLARE
  control grant_control := CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
BEGIN
  -- Renewed with another reason: nothing changed.
  IF TG_OP = 'UPDATE' AND NEW.state = OLD.state THEN
    RETURN NULL;
  END IF;
  PERFORM webhook_grant_changed(
    CASE WHEN TG_OP = 'DELETE' THEN 'grant.unfrozen' WHEN control.state = 'removed' THEN 'grant.revoked'
      ELSE 'grant.frozen' END,
    control.grant_id, control.merchant_id,
    CASE WHEN control.merchant_id IS NULL THEN 'operator' ELSE 'merchant' END,
    CASE WHEN TG_OP = 'DELETE' THEN NULL ELSE control.reason END);
  RETURN NULL;
END
$$;

CREATE CONSTRAINT TRIGGER webhook_control_changed AFTER INSERT OR UPDATE OR DELETE ON grant_control
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION webhook_control_changed();

-- Only triggers call them.
REVOKE ALL ON FUNCTION webhook_settlement_changed(), webhook_grant_status_changed(), webhook_account_changed(),
  webhook_control_changed() FROM PUBLIC;
