-- Owners of accounts: their sessions, their own freezes, and what they see, which is their account's rows. Webhooks for
-- them, and for the operator: what is in the outbox for nobody else.

-- The role ------------------------------------------------------------------------------------------------------------
-- stream_owner sees one account's rows, as stream_tenant sees one merchant's. Made as those of the first version are.

DO $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'stream_owner') THEN
    BEGIN
      CREATE ROLE stream_owner NOLOGIN NOBYPASSRLS;
    EXCEPTION WHEN duplicate_object OR unique_violation THEN
      NULL;
    END;
  END IF;
  IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
    BEGIN
      GRANT stream_owner TO CURRENT_USER;
    EXCEPTION WHEN unique_violation THEN
      NULL;
    END;
  END IF;
END
$$;

-- The account of this transaction, lower-case; NULL outside an owner's, and NULL equals nobody.
CREATE FUNCTION stream_account() RETURNS text
  LANGUAGE sql STABLE PARALLEL SAFE
  RETURN nullif(current_setting('stream.account', true), '');

-- Lets owners into a table that stream_protect locked: to the rows that `rule` names, for `command`, ALL or SELECT.
CREATE FUNCTION stream_admit_owner(target regclass, rule text, command text) RETURNS void
  LANGUAGE plpgsql
  SET search_path = pg_catalog, public
AS $$
BEGIN
  IF command = 'ALL' THEN
    EXECUTE format('CREATE POLICY owner ON %s TO stream_owner USING (%s) WITH CHECK (%s)', target, rule, rule);
  ELSIF command = 'SELECT' THEN
    EXECUTE format('CREATE POLICY owner ON %s FOR SELECT TO stream_owner USING (%s)', target, rule);
  ELSE
    RAISE EXCEPTION 'stream_admit_owner: the command is %, not ALL or SELECT', command;
  END IF;
END
$$;
REVOKE ALL ON FUNCTION stream_admit_owner(regclass, text, text) FROM PUBLIC;

-- Sessions and freezes ------------------------------------------------------------------------------------------------

CREATE TABLE owner_session (
  id text PRIMARY KEY CHECK (id LIKE 'ows\_%'),
  account evm_address NOT NULL,
  -- SHA-256 of the token, hex. The token has 256 random bits.
  hash text NOT NULL UNIQUE CHECK (hash ~ '^[0-9a-f]{64}$'),
  -- What was signed in with: each signs in once.
  nonce text NOT NULL CONSTRAINT owner_session_nonce_unique UNIQUE CHECK (length(nonce) BETWEEN 8 AND 200),
  created_at timestamptz(3) NOT NULL,
  expires_at timestamptz(3) NOT NULL,
  -- Signed out, or pushed out by newer ones.
  ended_at timestamptz(3)
);
CREATE INDEX owner_session_account ON owner_session (account, id);
CREATE INDEX owner_session_expires ON owner_session (expires_at);

-- Freezes by the owner at the gateway, for all payees. Beside grant_control, which has those of others.
CREATE TABLE owner_freeze (
  grant_id hex_bytes32 PRIMARY KEY REFERENCES "grant" (grant_id),
  account evm_address NOT NULL,
  reason text NOT NULL CHECK (length(reason) BETWEEN 1 AND 200),
  actor text NOT NULL,
  created_at timestamptz(3) NOT NULL DEFAULT now()
);
CREATE INDEX owner_freeze_account ON owner_freeze (account);

-- Recipients ----------------------------------------------------------------------------------------------------------
-- A message, endpoint, event, delivery or attempt is a merchant's, an account's, or, with neither, the operator's.

ALTER TABLE outbox
  ADD COLUMN account evm_address,
  ADD CONSTRAINT outbox_recipient CHECK (merchant_id IS NULL OR account IS NULL);
CREATE INDEX outbox_published ON outbox (published_at) WHERE published_at IS NOT NULL;

ALTER TABLE webhook_endpoint
  ALTER COLUMN merchant_id DROP NOT NULL,
  ADD COLUMN account evm_address,
  ADD CONSTRAINT webhook_endpoint_recipient CHECK (merchant_id IS NULL OR account IS NULL),
  DROP CONSTRAINT webhook_endpoint_disabled_reason_check,
  -- merchant, owner, operator: by hand.
  ADD CONSTRAINT webhook_endpoint_disabled_reason_check
    CHECK (disabled_reason IN ('merchant', 'owner', 'operator', 'failures', 'gone'));
CREATE INDEX webhook_endpoint_account ON webhook_endpoint (account, id);

ALTER TABLE webhook_event
  ALTER COLUMN merchant_id DROP NOT NULL,
  ADD COLUMN account evm_address,
  ADD CONSTRAINT webhook_event_recipient CHECK (merchant_id IS NULL OR account IS NULL);
CREATE INDEX webhook_event_account ON webhook_event (account, id);

ALTER TABLE webhook_delivery
  ALTER COLUMN merchant_id DROP NOT NULL,
  ADD COLUMN account evm_address,
  ADD CONSTRAINT webhook_delivery_recipient CHECK (merchant_id IS NULL OR account IS NULL);
CREATE INDEX webhook_delivery_account ON webhook_delivery (account, id);

ALTER TABLE webhook_attempt
  ALTER COLUMN merchant_id DROP NOT NULL,
  ADD COLUMN account evm_address,
  ADD CONSTRAINT webhook_attempt_recipient CHECK (merchant_id IS NULL OR account IS NULL);
CREATE INDEX webhook_attempt_account ON webhook_attempt (account, id);

-- Who may what --------------------------------------------------------------------------------------------------------

-- Functions, and not conditions in the policies: a login that is a member of all roles has the policies of all, and those of
-- tenants look from grants to channels and from settlements to items. Conditions that look back would be a circle.
CREATE FUNCTION stream_owns_grant(wanted text) RETURNS boolean
  LANGUAGE sql STABLE
  SET search_path = pg_catalog, public
AS $$ SELECT EXISTS (SELECT FROM "grant" g WHERE g.grant_id = wanted AND g.account = stream_account()) $$;
CREATE FUNCTION stream_owns_settlement(wanted text) RETURNS boolean
  LANGUAGE sql STABLE
  SET search_path = pg_catalog, public
AS $$ SELECT EXISTS (SELECT FROM settlement s WHERE s.id = wanted AND s.account = stream_account()) $$;

SELECT stream_protect('owner_session', 'false', 'SELECT');
-- A merchant sees what stops the grants it has a channel for; the grant's own policy says which those are.
SELECT stream_protect(
  'owner_freeze', 'EXISTS (SELECT FROM "grant" g WHERE g.grant_id = owner_freeze.grant_id)', 'SELECT');

SELECT stream_admit_owner('"grant"', 'account = stream_account()', 'SELECT');
SELECT stream_admit_owner('account', 'account = stream_account()', 'SELECT');
SELECT stream_admit_owner('charge', 'account = stream_account()', 'SELECT');
SELECT stream_admit_owner('settlement', 'account = stream_account()', 'SELECT');
SELECT stream_admit_owner('settlement_item', 'stream_owns_settlement(settlement_id)', 'SELECT');
SELECT stream_admit_owner('channel', 'stream_owns_grant(grant_id)', 'SELECT');
SELECT stream_admit_owner('grant_control', 'stream_owns_grant(grant_id)', 'SELECT');
SELECT stream_admit_owner('owner_freeze', 'account = stream_account() AND stream_owns_grant(grant_id)', 'ALL');
SELECT stream_admit_owner('webhook_endpoint', 'account = stream_account()', 'ALL');
SELECT stream_admit_owner('webhook_event', 'account = stream_account()', 'ALL');
SELECT stream_admit_owner('webhook_delivery', 'account = stream_account()', 'ALL');
SELECT stream_admit_owner('webhook_attempt', 'account = stream_account()', 'SELECT');
-- Writes down what they do, in their own name, and reads nothing of the audit.
CREATE POLICY owner ON audit_entry FOR INSERT TO stream_owner WITH CHECK (actor = 'owner:' || stream_account());

GRANT SELECT, INSERT, UPDATE, DELETE ON owner_session, owner_freeze TO stream_service;
GRANT SELECT ON owner_freeze TO stream_tenant;
GRANT SELECT ON
  "grant", account, grant_control, owner_freeze, channel, charge, settlement, settlement_item,
  webhook_endpoint, webhook_event, webhook_delivery, webhook_attempt
  TO stream_owner;
GRANT INSERT, DELETE, UPDATE (reason, actor, created_at) ON owner_freeze TO stream_owner;
GRANT INSERT ON audit_entry TO stream_owner;
GRANT INSERT, UPDATE, DELETE ON webhook_endpoint TO stream_owner;
GRANT INSERT ON webhook_event, webhook_delivery TO stream_owner;
GRANT UPDATE (state, attempts, max_attempts, first_attempt_at, next_attempt_at, lease_owner, ended_at)
  ON webhook_delivery TO stream_owner;

-- What merchants are told of grants: now also of their owners' freezes -------------------------------------------------

CREATE OR REPLACE FUNCTION webhook_grant_changed(
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
      WHEN g.status = 'frozen' OR a.account_frozen OR control.frozen OR o.grant_id IS NOT NULL THEN 'frozen'
      ELSE 'active' END)
  FROM "grant" g
  JOIN (SELECT DISTINCT grant_id, merchant_id FROM channel WHERE merchant_id IS NOT NULL) c ON c.grant_id = g.grant_id
  LEFT JOIN account a ON a.account = g.account AND a.token = g.token
  LEFT JOIN owner_freeze o ON o.grant_id = g.grant_id
  CROSS JOIN LATERAL (
    SELECT bool_or(gc.state = 'removed') AS removed, bool_or(gc.state = 'frozen') AS frozen FROM grant_control gc
    WHERE gc.grant_id = g.grant_id AND (gc.merchant_id IS NULL OR gc.merchant_id = c.merchant_id)
  ) control
  WHERE g.grant_id = changed_grant AND (only_merchant IS NULL OR c.merchant_id = only_merchant)
  ORDER BY c.merchant_id
$$;

-- What owners are told ------------------------------------------------------------------------------------------------
-- Written as merchants' events are: by deferred triggers, in the transaction of the change. Only while the account has an
-- endpoint that is enabled, because most have none.

CREATE FUNCTION webhook_tell_owner(told text, topic text, payload jsonb) RETURNS void
  LANGUAGE sql SECURITY DEFINER
  SET search_path = pg_catalog, public
AS $$
  INSERT INTO outbox (topic, account, payload)
  SELECT topic, told, payload
  WHERE EXISTS (SELECT FROM webhook_endpoint e WHERE e.account = told AND e.state = 'enabled')
$$;
REVOKE ALL ON FUNCTION webhook_tell_owner(text, text, jsonb) FROM PUBLIC;

-- `status` is the strictest of everything that can stop the grant for all payees, as of the commit.
CREATE FUNCTION webhook_owner_grant_changed(
  change text, changed_grant text, changed_by text, by_merchant text, why text
) RETURNS void
  LANGUAGE sql SECURITY DEFINER
  SET search_path = pg_catalog, public
AS $$
  SELECT webhook_tell_owner(g.account, change, jsonb_build_object(
    'grantId', g.grant_id, 'account', g.account, 'token', g.token, 'sessionKey', g.session_key,
    'by', changed_by, 'merchantId', by_merchant, 'reason', why,
    'status', CASE
      WHEN g.status IN ('pending', 'none') THEN g.status
      WHEN g.status = 'revoked' OR a.epoch > g.epoch OR c.state = 'removed' THEN 'revoked'
      WHEN g.status = 'frozen' OR a.account_frozen OR c.state = 'frozen' OR o.grant_id IS NOT NULL THEN 'frozen'
      ELSE 'active' END))
  FROM "grant" g
  LEFT JOIN account a ON a.account = g.account AND a.token = g.token
  LEFT JOIN grant_control c ON c.grant_id = g.grant_id AND c.merchant_id IS NULL
  LEFT JOIN owner_freeze o ON o.grant_id = g.grant_id
  WHERE g.grant_id = changed_grant
$$;
REVOKE ALL ON FUNCTION webhook_owner_grant_changed(text, text, text, text, text) FROM PUBLIC;

-- A key that was registered for the account, and a grant that the chain shows: their terms.
CREATE FUNCTION webhook_owner_grant_made() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER
  SET search_path = pg_catalog, public
AS $$
BEGIN
  PERFORM webhook_tell_owner(
    NEW.account, CASE NEW.status WHEN 'pending' THEN 'session_key.registered' ELSE 'grant.created' END,
    jsonb_build_object(
      'grantId', NEW.grant_id, 'account', NEW.account, 'token', NEW.token, 'sessionKey', NEW.session_key,
      'source', NEW.source, 'totalLimitAtomic', NEW.total_limit::text, 'periodLimitAtomic', NEW.period_limit::text,
      'period', NEW.period, 'validAfter', NEW.valid_after, 'validUntil', NEW.valid_until));
  RETURN NULL;
END
$$;

CREATE CONSTRAINT TRIGGER webhook_owner_grant_inserted AFTER INSERT ON "grant"
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.status IN ('pending', 'active', 'frozen'))
  EXECUTE FUNCTION webhook_owner_grant_made();
CREATE CONSTRAINT TRIGGER webhook_owner_grant_seen AFTER UPDATE OF status ON "grant"
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
  WHEN (OLD.status IN ('pending', 'none') AND NEW.status IN ('active', 'frozen'))
  EXECUTE FUNCTION webhook_owner_grant_made();

CREATE FUNCTION webhook_owner_grant_status() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER
  SET search_path = pg_catalog, public
AS $$
BEGIN
  PERFORM webhook_owner_grant_changed(
    CASE NEW.status WHEN 'frozen' THEN 'grant.frozen' WHEN 'revoked' THEN 'grant.revoked' ELSE 'grant.unfrozen' END,
    NEW.grant_id, 'chain', NULL, NULL);
  RETURN NULL;
END
$$;

CREATE CONSTRAINT TRIGGER webhook_owner_grant_status AFTER UPDATE OF status ON "grant"
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
  WHEN (
    NEW.status IS DISTINCT FROM OLD.status
    AND (NEW.status IN ('frozen', 'revoked') OR NEW.status = 'active' AND OLD.status IN ('frozen', 'revoked'))
  )
  EXECUTE FUNCTION webhook_owner_grant_status();

-- 99 % of the total limit are paid: what is left is less than most prices, so that nothing would ever fill it.
CREATE FUNCTION webhook_owner_grant_exhausted() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER
  SET search_path = pg_catalog, public
AS $$
BEGIN
  PERFORM webhook_tell_owner(NEW.account, 'grant.exhausted', jsonb_build_object(
    'grantId', NEW.grant_id, 'account', NEW.account, 'token', NEW.token, 'sessionKey', NEW.session_key,
    'totalLimitAtomic', NEW.total_limit::text, 'settledAtomic', NEW.settled::text));
  RETURN NULL;
END
$$;

CREATE CONSTRAINT TRIGGER webhook_owner_grant_exhausted AFTER UPDATE OF settled ON "grant"
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
  WHEN (NEW.settled * 100 >= NEW.total_limit * 99 AND OLD.settled * 100 < OLD.total_limit * 99)
  EXECUTE FUNCTION webhook_owner_grant_exhausted();

CREATE FUNCTION webhook_owner_account_changed() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER
  SET search_path = pg_catalog, public
AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM webhook_endpoint e WHERE e.account = NEW.account AND e.state = 'enabled') THEN
    RETURN NULL;
  END IF;
  IF NEW.epoch > OLD.epoch THEN
    PERFORM webhook_owner_grant_changed('grant.revoked', g.grant_id, 'chain', NULL, NULL) FROM "grant" g
    WHERE g.account = NEW.account AND g.token = NEW.token AND g.epoch >= OLD.epoch AND g.epoch < NEW.epoch
      AND g.status IN ('active', 'frozen');
  END IF;
  IF NEW.account_frozen IS DISTINCT FROM OLD.account_frozen THEN
    PERFORM webhook_owner_grant_changed(
      CASE WHEN NEW.account_frozen THEN 'grant.frozen' ELSE 'grant.unfrozen' END, g.grant_id, 'chain', NULL, NULL)
    FROM "grant" g
    WHERE g.account = NEW.account AND g.token = NEW.token AND g.epoch = NEW.epoch AND g.status IN ('active', 'frozen');
  END IF;
  IF NEW.reserve_withdrawing > OLD.reserve_withdrawing THEN
    PERFORM webhook_tell_owner(NEW.account, 'reserve.withdrawal_requested', jsonb_build_object(
      'account', NEW.account, 'token', NEW.token, 'balanceAtomic', NEW.reserve_balance::text,
      'withdrawingAtomic', NEW.reserve_withdrawing::text, 'withdrawableAt', NEW.reserve_withdrawable_at));
  END IF;
  RETURN NULL;
END
$$;

CREATE CONSTRAINT TRIGGER webhook_owner_account_changed
  AFTER UPDATE OF epoch, account_frozen, reserve_withdrawing ON account
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
  WHEN (
    NEW.epoch > OLD.epoch OR NEW.account_frozen IS DISTINCT FROM OLD.account_frozen
    OR NEW.reserve_withdrawing > OLD.reserve_withdrawing
  )
  EXECUTE FUNCTION webhook_owner_account_changed();

-- Off-chain, by the operator (and the sentinel) or by a merchant for itself.
CREATE FUNCTION webhook_owner_control_changed() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER
  SET search_path = pg_catalog, public
AS $$
DECLARE
  control grant_control := CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
BEGIN
  IF TG_OP = 'UPDATE' AND NEW.state = OLD.state THEN
    RETURN NULL;
  END IF;
  PERFORM webhook_owner_grant_changed(
    CASE WHEN TG_OP = 'DELETE' THEN 'grant.unfrozen' WHEN control.state = 'removed' THEN 'grant.revoked'
      ELSE 'grant.frozen' END,
    control.grant_id, CASE WHEN control.merchant_id IS NULL THEN 'operator' ELSE 'merchant' END, control.merchant_id,
    CASE WHEN TG_OP = 'DELETE' THEN NULL ELSE control.reason END);
  RETURN NULL;
END
$$;

CREATE CONSTRAINT TRIGGER webhook_owner_control_changed AFTER INSERT OR UPDATE OR DELETE ON grant_control
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION webhook_owner_control_changed();

-- Off-chain, by the owner: their merchants are told too.
CREATE FUNCTION webhook_owner_freeze_changed() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER
  SET search_path = pg_catalog, public
AS $$
DECLARE
  made owner_freeze := CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
  change text := CASE WHEN TG_OP = 'DELETE' THEN 'grant.unfrozen' ELSE 'grant.frozen' END;
  why text := CASE WHEN TG_OP = 'DELETE' THEN NULL ELSE made.reason END;
BEGIN
  PERFORM webhook_grant_changed(change, made.grant_id, NULL, 'owner', why);
  PERFORM webhook_owner_grant_changed(change, made.grant_id, 'owner', NULL, why);
  RETURN NULL;
END
$$;

CREATE CONSTRAINT TRIGGER webhook_owner_freeze_changed AFTER INSERT OR DELETE ON owner_freeze
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION webhook_owner_freeze_changed();

-- What the chain paid out of the account, to all payees; and that a reorganisation took it back.
CREATE FUNCTION webhook_owner_settlement_changed() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER
  SET search_path = pg_catalog, public
AS $$
DECLARE
  place settlement := CASE WHEN NEW.state = 'confirmed' THEN NEW ELSE OLD END;
BEGIN
  PERFORM webhook_tell_owner(
    NEW.account, CASE WHEN NEW.state = 'confirmed' THEN 'settlement.confirmed' ELSE 'settlement.reopened' END,
    jsonb_build_object(
      'settlementId', NEW.id, 'grantId', NEW.grant_id, 'account', NEW.account,
      'token', (SELECT g.token FROM "grant" g WHERE g.grant_id = NEW.grant_id),
      'txHash', place.tx_hash, 'blockNumber', place.block_number::text)
    || CASE WHEN NEW.state <> 'confirmed' THEN '{}' ELSE (
      SELECT jsonb_build_object(
        'userOpHash', NEW.user_op_hash, 'paidAtomic', coalesce(sum(i.paid), 0)::text,
        'payments', coalesce(jsonb_agg(
          jsonb_build_object('payee', i.payee, 'paidAtomic', i.paid::text, 'skippedReason', i.skipped_reason)
          ORDER BY i.payee), '[]'))
      FROM settlement_item i WHERE i.settlement_id = NEW.id) END);
  RETURN NULL;
END
$$;

CREATE CONSTRAINT TRIGGER webhook_owner_settlement_changed AFTER UPDATE OF state ON settlement
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
  WHEN (NEW.state IS DISTINCT FROM OLD.state AND (NEW.state = 'confirmed' OR OLD.state = 'confirmed'))
  EXECUTE FUNCTION webhook_owner_settlement_changed();

-- What the operator is told -------------------------------------------------------------------------------------------

-- A dead letter: somebody has to look.
CREATE FUNCTION webhook_operator_dead_letter() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER
  SET search_path = pg_catalog, public
AS $$
BEGIN
  INSERT INTO outbox (topic, payload)
  SELECT 'settlement.dead', jsonb_build_object(
    'settlementId', NEW.id, 'grantId', NEW.grant_id, 'account', NEW.account,
    'token', (SELECT g.token FROM "grant" g WHERE g.grant_id = NEW.grant_id),
    'payees', coalesce(jsonb_agg(i.payee ORDER BY i.payee), '[]'),
    'attempts', NEW.attempts, 'errorCode', NEW.error_code, 'errorMessage', NEW.error_message)
  FROM settlement_item i WHERE i.settlement_id = NEW.id;
  RETURN NULL;
END
$$;

CREATE CONSTRAINT TRIGGER webhook_operator_dead_letter AFTER UPDATE OF state ON settlement
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
  WHEN (NEW.state IS DISTINCT FROM OLD.state AND NEW.state = 'dead')
  EXECUTE FUNCTION webhook_operator_dead_letter();

-- Only triggers call them.
REVOKE ALL ON FUNCTION webhook_owner_grant_made(), webhook_owner_grant_status(), webhook_owner_grant_exhausted(),
  webhook_owner_account_changed(), webhook_owner_control_changed(), webhook_owner_freeze_changed(),
  webhook_owner_settlement_changed(), webhook_operator_dead_letter() FROM PUBLIC;
