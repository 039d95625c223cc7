-- Settlement as a state machine: every state it was in is a row, every failure has a reason from a closed list, and what
-- cannot be paid for now waits until the chain shows that it can.

ALTER TABLE settlement
  -- Of the newest failure, also while the next attempt is made.
  ADD COLUMN failure_reason text,
  -- Looks in a row that found it unpayable; none of them is an attempt.
  ADD COLUMN waits integer NOT NULL DEFAULT 0 CHECK (waits >= 0),
  -- The chain's block at the newest of them: what a later block raised is news.
  ADD COLUMN looked_block bigint,
  -- Since when it has its lane.
  ADD COLUMN lane_since timestamptz(3) NOT NULL DEFAULT now(),
  -- When the bundler first took the newest operation.
  ADD COLUMN sent_at timestamptz(3),
  DROP CONSTRAINT settlement_state_check,
  DROP CONSTRAINT settlement_check;

-- The login that migrates may not see rows.
SET LOCAL ROLE stream_service;
UPDATE settlement SET state = 'pending' WHERE state = 'intended' AND user_op_hash IS NULL
  AND NOT EXISTS (SELECT FROM settlement_transaction_member m WHERE m.settlement_id = settlement.id);
UPDATE settlement SET failure_reason = CASE
    WHEN error_code LIKE 'voucher.%' OR error_code IN ('settlement.empty', 'claim.payee_not_known') THEN 'voucher_invalid'
    WHEN error_code IN ('grant.revoked', 'grant.expired', 'grant.unknown') THEN 'grant_ended'
    WHEN error_code = 'grant.frozen' THEN 'grant_frozen'
    WHEN error_code = 'chain.reorganised' THEN 'reorganised'
    WHEN error_code = 'bundler.dropped' THEN 'dropped'
    WHEN error_code = 'settlement.reverted' THEN 'reverted'
    WHEN error_code IN ('bundler.nonce', 'transaction.lost') THEN 'nonce_used'
    WHEN error_code = 'sponsor.budget_exceeded' THEN 'paymaster_budget'
    WHEN error_code = 'paymaster.deposit' THEN 'paymaster_deposit'
    WHEN error_code LIKE 'sponsor.%' OR error_code = 'paymaster.validation' THEN 'sponsorship_refused'
    WHEN error_code LIKE 'account.%' THEN 'account_refused'
    WHEN error_code LIKE 'bundler.%' THEN 'bundler_refused'
    WHEN error_code LIKE 'settlement.other_%' THEN 'not_ours'
    ELSE 'internal' END
  WHERE state IN ('failed', 'dead');
RESET ROLE;

ALTER TABLE settlement
  ADD CONSTRAINT settlement_state_check CHECK (
    state IN ('pending', 'intended', 'submitted', 'included', 'confirmed', 'failed', 'retried', 'dead')),
  -- The list of db/src/settlements/settlement.ts.
  ADD CONSTRAINT settlement_failure_reason_check CHECK (failure_reason IN (
    'allowance_gone', 'balance_too_low', 'reserve_empty', 'limit_reached', 'grant_frozen', 'grant_ended',
    'payee_blocked', 'account_blocked', 'token_refuses', 'voucher_invalid', 'paymaster_deposit', 'paymaster_budget',
    'sponsorship_refused', 'sponsorship_expired', 'fees_too_high', 'fees_too_low', 'gas_limits', 'reverted', 'dropped',
    'nonce_used', 'account_refused', 'account_unknown', 'bundler_refused', 'not_ours', 'reorganised', 'unavailable',
    'internal')),
  ADD CONSTRAINT settlement_failure_has_reason CHECK (state NOT IN ('failed', 'dead') OR failure_reason IS NOT NULL),
  ADD CONSTRAINT settlement_included_has_block CHECK (
    state NOT IN ('included', 'confirmed') OR (tx_hash IS NOT NULL AND block_number IS NOT NULL));

DROP INDEX settlement_one_open;
DROP INDEX settlement_due;
-- Two open settlements of a grant would pay each other's claims.
CREATE UNIQUE INDEX settlement_one_open ON settlement (grant_id)
  WHERE state IN ('pending', 'intended', 'submitted', 'included', 'failed', 'retried');
CREATE INDEX settlement_due ON settlement (next_attempt_at)
  WHERE state IN ('pending', 'intended', 'submitted', 'included', 'failed', 'retried');
-- Who has a lane of the account: see db/src/settlements/lanes.ts.
CREATE INDEX settlement_lane ON settlement (account, nonce_key)
  WHERE state IN ('pending', 'intended', 'submitted', 'included', 'retried');

-- History -------------------------------------------------------------------------------------------------------------

-- Every state that a settlement was in, and every operation that was recorded for it. Written by triggers, so that no
-- change can be made without it.
CREATE TABLE settlement_transition (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  settlement_id text NOT NULL REFERENCES settlement (id) ON DELETE CASCADE,
  at timestamptz(3) NOT NULL DEFAULT clock_timestamp(),
  -- NULL: it began.
  from_state text,
  to_state text NOT NULL,
  reason text,
  error_code text,
  -- Who had the lease; NULL: nobody, an operator or the indexer.
  worker text,
  -- Failed attempts until then.
  attempt integer NOT NULL,
  user_op_hash hex_bytes32,
  tx_hash hex_bytes32
);
CREATE INDEX settlement_transition_settlement ON settlement_transition (settlement_id, id);

CREATE FUNCTION settlement_changed() RETURNS trigger
  LANGUAGE plpgsql
  SET search_path = pg_catalog, public
AS $$
DECLARE
  has_failed boolean := NEW.state IN ('failed', 'dead')
    OR TG_OP = 'UPDATE' AND NEW.failure_reason IS NOT NULL AND NEW.failure_reason IS DISTINCT FROM OLD.failure_reason;
BEGIN
  INSERT INTO settlement_transition
    (settlement_id, from_state, to_state, reason, error_code, worker, attempt, user_op_hash, tx_hash)
  VALUES (
    NEW.id, CASE WHEN TG_OP = 'UPDATE' THEN OLD.state END, NEW.state,
    CASE WHEN has_failed THEN NEW.failure_reason END, CASE WHEN has_failed THEN NEW.error_code END,
    coalesce(NEW.lease_owner, CASE WHEN TG_OP = 'UPDATE' THEN OLD.lease_owner END),
    NEW.attempts, NEW.user_op_hash, NEW.tx_hash);
  RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION settlement_changed() FROM PUBLIC;

CREATE TRIGGER settlement_began AFTER INSERT ON settlement
  FOR EACH ROW EXECUTE FUNCTION settlement_changed();
CREATE TRIGGER settlement_changed AFTER UPDATE ON settlement
  FOR EACH ROW WHEN (
    NEW.state IS DISTINCT FROM OLD.state
    OR NEW.user_op_hash IS NOT NULL AND NEW.user_op_hash IS DISTINCT FROM OLD.user_op_hash)
  EXECUTE FUNCTION settlement_changed();

-- What the chain can pay again ----------------------------------------------------------------------------------------

-- The newest block that raised what an account or a grant can pay. A settlement that waits is due when it is later than
-- the block of its last look.
ALTER TABLE account ADD COLUMN raised_block bigint NOT NULL DEFAULT 0;
ALTER TABLE "grant" ADD COLUMN raised_block bigint NOT NULL DEFAULT 0;

CREATE FUNCTION account_raised() RETURNS trigger
  LANGUAGE plpgsql
AS $$
BEGIN
  NEW.raised_block := NEW.block_number;
  RETURN NEW;
END
$$;
REVOKE ALL ON FUNCTION account_raised() FROM PUBLIC;

CREATE TRIGGER account_raised BEFORE UPDATE ON account
  FOR EACH ROW WHEN (
    NEW.balance > OLD.balance OR NEW.allowance > OLD.allowance OR NEW.reserve_balance > OLD.reserve_balance
    OR OLD.account_frozen AND NOT NEW.account_frozen)
  EXECUTE FUNCTION account_raised();
CREATE TRIGGER grant_raised BEFORE UPDATE ON "grant"
  FOR EACH ROW WHEN (OLD.status = 'frozen' AND NEW.status = 'active')
  EXECUTE FUNCTION account_raised();

-- Payees whom a token does not pay, as its contract last answered. Their channels are not served until it does again.
CREATE TABLE payee_block (
  token evm_address NOT NULL,
  payee evm_address NOT NULL,
  -- False: it pays again. The row stays, so that those who copy it see the change.
  blocked boolean NOT NULL,
  since timestamptz(3) NOT NULL,
  changed_at timestamptz(3) NOT NULL,
  -- Answers in a row that it is blocked, and when the token is asked again.
  checks integer NOT NULL DEFAULT 0 CHECK (checks >= 0),
  next_check_at timestamptz(3) NOT NULL,
  PRIMARY KEY (token, payee)
);
CREATE INDEX payee_block_due ON payee_block (next_check_at) WHERE blocked;
CREATE INDEX payee_block_changed ON payee_block (changed_at);

-- Who may what --------------------------------------------------------------------------------------------------------

SELECT stream_protect(
  'settlement_transition', 'EXISTS (SELECT FROM settlement s WHERE s.id = settlement_transition.settlement_id)', 'SELECT');
SELECT stream_protect('payee_block', 'EXISTS (SELECT FROM merchant m WHERE m.payee = payee_block.payee)', 'SELECT');

-- Append-only, by privilege.
GRANT SELECT, INSERT ON settlement_transition TO stream_service;
GRANT SELECT, INSERT, UPDATE ON payee_block TO stream_service;
GRANT SELECT ON settlement_transition, payee_block TO stream_tenant;
