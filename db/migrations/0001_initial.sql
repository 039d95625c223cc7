-- The first version: merchants, services, grants and channels, the journal, settlement, the indexer's mirror, gas.
-- Addresses, hashes and bytes are lower-case 0x hex. Amounts are whole numbers of base units or wei. Times are UTC
-- with milliseconds, as JavaScript has them.

-- Roles ---------------------------------------------------------------------------------------------------------------
-- stream_tenant sees one merchant's rows, stream_service all. Roles belong to the cluster, so another database may be
-- creating them at this moment: the loser of that race waits, and finds them there.

DO $$
DECLARE
  wanted text;
BEGIN
  FOREACH wanted IN ARRAY ARRAY['stream_service', 'stream_tenant'] LOOP
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
      BEGIN
        EXECUTE format('CREATE ROLE %I NOLOGIN NOBYPASSRLS', wanted);
      EXCEPTION WHEN duplicate_object OR unique_violation THEN
        NULL;
      END;
    END IF;
    -- A superuser may become anybody. Another login has to be a member, with the right to SET ROLE.
    IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
      BEGIN
        EXECUTE format('GRANT %I TO CURRENT_USER', wanted);
      EXCEPTION WHEN unique_violation THEN
        NULL;
      END;
    END IF;
  END LOOP;
END
$$;

-- Types ---------------------------------------------------------------------------------------------------------------

CREATE DOMAIN evm_address AS text CHECK (VALUE ~ '^0x[0-9a-f]{40}$');
CREATE DOMAIN hex_bytes32 AS text CHECK (VALUE ~ '^0x[0-9a-f]{64}$');
CREATE DOMAIN hex_bytes AS text CHECK (VALUE ~ '^0x([0-9a-f]{2})*$');
CREATE DOMAIN uint128 AS numeric(39, 0) CHECK (VALUE BETWEEN 0 AND 340282366920938463463374607431768211455);
CREATE DOMAIN uint256 AS numeric(78, 0) CHECK (VALUE >= 0);

-- Row-level security --------------------------------------------------------------------------------------------------

-- The merchant of this transaction; NULL outside a tenant's, and NULL equals nobody.
CREATE FUNCTION stream_merchant_id() RETURNS text
  LANGUAGE sql STABLE PARALLEL SAFE
  RETURN nullif(current_setting('stream.merchant_id', true), '');

-- Locks a table: the service may touch every row, a tenant only those that `rule` names. `command` is what the rule
-- allows them, ALL or SELECT. Forced, so that the table's owner is not excepted.
CREATE FUNCTION stream_protect(target regclass, rule text, command text) RETURNS void
  LANGUAGE plpgsql
  SET search_path = pg_catalog, public
AS $$
BEGIN
  EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', target);
  EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', target);
  EXECUTE format('CREATE POLICY service ON %s TO stream_service USING (true) WITH CHECK (true)', target);
  IF command = 'ALL' THEN
    EXECUTE format('CREATE POLICY tenant ON %s TO stream_tenant USING (%s) WITH CHECK (%s)', target, rule, rule);
  ELSIF command = 'SELECT' THEN
    EXECUTE format('CREATE POLICY tenant ON %s FOR SELECT TO stream_tenant USING (%s)', target, rule);
  ELSE
    RAISE EXCEPTION 'stream_protect: the command is %, not ALL or SELECT', command;
  END IF;
END
$$;
REVOKE ALL ON FUNCTION stream_protect(regclass, text, text) FROM PUBLIC;

-- Merchants, their keys and services ----------------------------------------------------------------------------------

CREATE TABLE merchant (
  id text PRIMARY KEY CHECK (id LIKE 'mer\_%'),
  name text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
  payee evm_address NOT NULL CONSTRAINT merchant_payee_unique UNIQUE,
  gas_budget_wei_per_day uint128 NOT NULL,
  created_at timestamptz(3) NOT NULL DEFAULT now()
);

CREATE TABLE api_key (
  id text PRIMARY KEY CHECK (id LIKE 'key\_%'),
  -- NULL: a key of the operator, for every merchant.
  merchant_id text REFERENCES merchant (id),
  name text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
  -- The first characters of the key, to tell keys apart.
  prefix text NOT NULL,
  -- SHA-256 of the key, hex. The key has 256 random bits, so a slow hash would add nothing.
  hash text NOT NULL UNIQUE CHECK (hash ~ '^[0-9a-f]{64}$'),
  created_at timestamptz(3) NOT NULL DEFAULT now(),
  revoked_at timestamptz(3),
  last_used_at timestamptz(3)
);
CREATE INDEX api_key_merchant ON api_key (merchant_id);

CREATE TABLE service (
  id text PRIMARY KEY CHECK (id LIKE 'svc\_%'),
  merchant_id text NOT NULL REFERENCES merchant (id),
  name text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
  path_prefix text NOT NULL CONSTRAINT service_path_unique UNIQUE CHECK (path_prefix ~ '^(/[A-Za-z0-9._~-]+)+$'),
  -- NULL: the merchant's own process serves it, with the middleware in front.
  upstream text,
  price_atomic uint128 NOT NULL,
  token evm_address NOT NULL,
  threshold_atomic uint128 NOT NULL DEFAULT 10000000,
  max_age_seconds integer NOT NULL DEFAULT 86400 CHECK (max_age_seconds > 0),
  max_amount_per_call uint128,
  max_calls_per_minute integer CHECK (max_calls_per_minute > 0),
  upstream_timeout_ms integer NOT NULL DEFAULT 30000 CHECK (upstream_timeout_ms > 0),
  enabled boolean NOT NULL DEFAULT true,
  created_at timestamptz(3) NOT NULL DEFAULT now(),
  updated_at timestamptz(3) NOT NULL DEFAULT now(),
  CONSTRAINT service_name_unique UNIQUE (merchant_id, name)
);

-- The chain's state, mirrored -----------------------------------------------------------------------------------------

CREATE TABLE "grant" (
  grant_id hex_bytes32 PRIMARY KEY,
  account evm_address NOT NULL,
  session_key evm_address NOT NULL,
  settler evm_address NOT NULL,
  token evm_address NOT NULL,
  total_limit uint128 NOT NULL,
  period_limit uint128 NOT NULL,
  period bigint NOT NULL,
  valid_after bigint NOT NULL,
  valid_until bigint NOT NULL,
  payee_root hex_bytes32 NOT NULL,
  source text NOT NULL CHECK (source IN ('allowance', 'reserve')),
  salt hex_bytes NOT NULL,
  packed_terms hex_bytes NOT NULL,
  epoch bigint NOT NULL,
  -- pending: registered, not yet seen on-chain. none: the chain took its creation back.
  status text NOT NULL CHECK (status IN ('pending', 'none', 'active', 'frozen', 'revoked')),
  settled uint128 NOT NULL DEFAULT 0,
  period_index bigint NOT NULL DEFAULT 0,
  period_settled uint128 NOT NULL DEFAULT 0,
  -- Of the mirror: the block whose state this row shows.
  block_number bigint NOT NULL DEFAULT 0,
  created_at timestamptz(3) NOT NULL DEFAULT now(),
  updated_at timestamptz(3) NOT NULL DEFAULT now()
);
CREATE INDEX grant_account ON "grant" (account, token);
CREATE INDEX grant_session_key ON "grant" (session_key);
CREATE INDEX grant_created ON "grant" (created_at, grant_id);

CREATE TABLE account (
  account evm_address NOT NULL,
  token evm_address NOT NULL,
  balance uint256 NOT NULL,
  allowance uint256 NOT NULL,
  account_frozen boolean NOT NULL,
  guardian evm_address NOT NULL,
  epoch bigint NOT NULL,
  block_number bigint NOT NULL,
  PRIMARY KEY (account, token)
);

-- Off-chain freezes and removals. Lowers what the chain allows, never raises it.
CREATE TABLE grant_control (
  id text PRIMARY KEY CHECK (id LIKE 'ctl\_%'),
  grant_id hex_bytes32 NOT NULL,
  -- NULL: by the operator, for all payees.
  merchant_id text REFERENCES merchant (id),
  state text NOT NULL CHECK (state IN ('frozen', 'removed')),
  reason text NOT NULL,
  actor text NOT NULL,
  created_at timestamptz(3) NOT NULL DEFAULT now(),
  CONSTRAINT grant_control_unique UNIQUE NULLS NOT DISTINCT (grant_id, merchant_id)
);
CREATE INDEX grant_control_merchant ON grant_control (merchant_id);

-- One grant at one payee. No foreign keys here and in charge: what the meter charged must reach the journal whatever
-- else is missing.
CREATE TABLE channel (
  grant_id hex_bytes32 NOT NULL,
  payee evm_address NOT NULL,
  -- NULL until the payee is a merchant's: the chain may pay anybody whom the grant names.
  merchant_id text,
  -- The newest voucher.
  cumulative_amount uint128 NOT NULL DEFAULT 0,
  signature hex_bytes,
  payee_proof text[] NOT NULL DEFAULT '{}',
  -- Sum of the journal.
  charged uint128 NOT NULL DEFAULT 0,
  -- On-chain, as of settled_block.
  settled uint128 NOT NULL DEFAULT 0,
  settled_block bigint NOT NULL DEFAULT 0,
  -- When the oldest charge that is not settled happened; NULL when nothing is owed.
  first_unsettled_at timestamptz(3),
  last_charge_at timestamptz(3),
  created_at timestamptz(3) NOT NULL DEFAULT now(),
  PRIMARY KEY (grant_id, payee)
);
CREATE INDEX channel_merchant ON channel (merchant_id, grant_id);
CREATE INDEX channel_owing ON channel (grant_id) WHERE charged > settled;

-- The journal ---------------------------------------------------------------------------------------------------------

CREATE TABLE charge (
  -- From the meter, the same however often the event is read. With its moment it makes a repeated batch insert nothing.
  event_id text NOT NULL CHECK (length(event_id) BETWEEN 1 AND 200),
  occurred_at timestamptz(3) NOT NULL,
  grant_id hex_bytes32 NOT NULL,
  payee evm_address NOT NULL,
  account evm_address NOT NULL,
  merchant_id text NOT NULL,
  service_id text NOT NULL,
  request_id text NOT NULL,
  fingerprint text NOT NULL,
  amount uint128 NOT NULL,
  cumulative_amount uint128 NOT NULL,
  PRIMARY KEY (occurred_at, event_id)
) PARTITION BY RANGE (occurred_at);
CREATE INDEX charge_channel ON charge (grant_id, payee, occurred_at, event_id);
CREATE INDEX charge_account ON charge (account, occurred_at);
CREATE INDEX charge_merchant ON charge (merchant_id, occurred_at, event_id);

-- Makes the partition of the month (UTC) that `moment` is in, unless it exists. Attached rather than created in place,
-- which would stop all writers; protected itself, because a partition can be addressed past its parent's policies.
CREATE FUNCTION ensure_charge_partition(moment timestamptz) RETURNS text
  LANGUAGE plpgsql SECURITY DEFINER
  SET search_path = pg_catalog, public
AS $$
DECLARE
  month timestamp := date_trunc('month', moment AT TIME ZONE 'UTC');
  child text := 'charge_' || to_char(month, 'YYYY_MM');
BEGIN
  IF to_regclass('public.' || child) IS NOT NULL THEN
    RETURN child;
  END IF;
  PERFORM pg_advisory_xact_lock(hashtext('stream.charge_partition'));
  IF to_regclass('public.' || child) IS NOT NULL THEN
    RETURN child;
  END IF;
  EXECUTE format('CREATE TABLE public.%I (LIKE public.charge INCLUDING ALL)', child);
  PERFORM public.stream_protect(('public.' || child)::regclass, 'merchant_id = stream_merchant_id()', 'SELECT');
  EXECUTE format(
    'ALTER TABLE public.charge ATTACH PARTITION public.%I FOR VALUES FROM (%L) TO (%L)',
    child, month AT TIME ZONE 'UTC', (month + interval '1 month') AT TIME ZONE 'UTC'
  );
  RETURN child;
END
$$;
REVOKE ALL ON FUNCTION ensure_charge_partition(timestamptz) FROM PUBLIC;

-- Settlement ----------------------------------------------------------------------------------------------------------

CREATE TABLE settlement (
  id text PRIMARY KEY CHECK (id LIKE 'stl\_%'),
  grant_id hex_bytes32 NOT NULL REFERENCES "grant" (grant_id),
  account evm_address NOT NULL,
  state text NOT NULL CHECK (state IN ('intended', 'submitted', 'confirmed', 'failed', 'dead')),
  trigger text NOT NULL CHECK (trigger IN ('threshold', 'age', 'expiry', 'request')),
  -- The lane of the nonce key: four bytes after the validator's address.
  nonce_key bigint NOT NULL CHECK (nonce_key BETWEEN 0 AND 4294967295),
  -- The UserOperation of the newest attempt, and the hashes of those before it: any of them may still be included.
  user_op_hash hex_bytes32,
  user_operation jsonb,
  earlier_user_op_hashes text[] NOT NULL DEFAULT '{}',
  tx_hash hex_bytes32,
  block_number bigint,
  attempts integer NOT NULL DEFAULT 0,
  next_attempt_at timestamptz(3),
  error_code text,
  error_message text,
  gas_used uint128,
  gas_cost_wei uint128,
  lease_owner text,
  lease_until timestamptz(3),
  -- A dead settlement stops its grant until an operator retries it or writes it off.
  written_off_at timestamptz(3),
  created_at timestamptz(3) NOT NULL DEFAULT now(),
  updated_at timestamptz(3) NOT NULL DEFAULT now(),
  CHECK (state <> 'confirmed' OR (tx_hash IS NOT NULL AND block_number IS NOT NULL))
);
-- Two open settlements of a grant would pay each other's claims.
CREATE UNIQUE INDEX settlement_one_open ON settlement (grant_id) WHERE state IN ('intended', 'submitted', 'failed');
CREATE INDEX settlement_grant ON settlement (grant_id, state, block_number);
CREATE INDEX settlement_due ON settlement (next_attempt_at) WHERE state IN ('intended', 'submitted', 'failed');

CREATE TABLE settlement_item (
  settlement_id text NOT NULL REFERENCES settlement (id) ON DELETE CASCADE,
  payee evm_address NOT NULL,
  merchant_id text,
  -- Cumulative: settle up to here.
  amount uint128 NOT NULL,
  cumulative_amount uint128 NOT NULL,
  signature hex_bytes NOT NULL,
  payee_proof text[] NOT NULL,
  -- What moved; NULL until the outcome is known.
  paid uint128,
  skipped_reason text,
  PRIMARY KEY (settlement_id, payee)
);
CREATE INDEX settlement_item_merchant ON settlement_item (merchant_id, settlement_id);

CREATE TABLE settlement_request (
  id text PRIMARY KEY CHECK (id LIKE 'srq\_%'),
  grant_id hex_bytes32 NOT NULL,
  -- NULL: by the operator.
  merchant_id text REFERENCES merchant (id),
  actor text NOT NULL,
  -- The settlement that took it up.
  settlement_id text REFERENCES settlement (id),
  created_at timestamptz(3) NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX settlement_request_open ON settlement_request (grant_id, merchant_id) NULLS NOT DISTINCT
  WHERE settlement_id IS NULL;
CREATE INDEX settlement_request_merchant ON settlement_request (merchant_id);

-- The indexer ---------------------------------------------------------------------------------------------------------

CREATE TABLE indexer_cursor (
  name text PRIMARY KEY,
  block_number bigint NOT NULL,
  block_hash hex_bytes32 NOT NULL,
  checked_at timestamptz(3) NOT NULL
);

-- The newest blocks, to find where a reorganisation forked.
CREATE TABLE indexed_block (
  number bigint PRIMARY KEY,
  hash hex_bytes32 NOT NULL
);

CREATE TABLE chain_event (
  block_number bigint NOT NULL,
  block_hash hex_bytes32 NOT NULL,
  log_index integer NOT NULL,
  tx_hash hex_bytes32 NOT NULL,
  name text NOT NULL,
  account evm_address,
  grant_id hex_bytes32,
  payee evm_address,
  data jsonb NOT NULL,
  PRIMARY KEY (block_hash, log_index)
);
CREATE INDEX chain_event_block ON chain_event (block_number);
CREATE INDEX chain_event_grant ON chain_event (grant_id, block_number);

-- Gas -----------------------------------------------------------------------------------------------------------------

CREATE TABLE sponsorship (
  user_op_hash hex_bytes32 PRIMARY KEY,
  sender evm_address NOT NULL,
  kind text NOT NULL,
  state text NOT NULL CHECK (state IN ('reserved', 'spent', 'expired')),
  max_cost_wei uint128 NOT NULL,
  actual_cost_wei uint128,
  valid_until timestamptz(3) NOT NULL,
  created_at timestamptz(3) NOT NULL DEFAULT now(),
  booked_at timestamptz(3)
);
CREATE INDEX sponsorship_kind ON sponsorship (kind, created_at);
CREATE INDEX sponsorship_sender ON sponsorship (sender, created_at);
CREATE INDEX sponsorship_reserved ON sponsorship (valid_until) WHERE state = 'reserved';

-- Which merchants bear a sponsorship. `actual_cost_wei` is NULL while reserved and 0 when it expired unused, so that a
-- day's spending is the sum of coalesce(actual_cost_wei, max_cost_wei).
CREATE TABLE sponsorship_share (
  user_op_hash hex_bytes32 NOT NULL REFERENCES sponsorship (user_op_hash) ON DELETE CASCADE,
  merchant_id text NOT NULL REFERENCES merchant (id),
  -- UTC.
  day date NOT NULL,
  max_cost_wei uint128 NOT NULL,
  actual_cost_wei uint128,
  PRIMARY KEY (user_op_hash, merchant_id)
);
CREATE INDEX sponsorship_share_day ON sponsorship_share (merchant_id, day);

-- Who may what --------------------------------------------------------------------------------------------------------

SELECT stream_protect('merchant', 'id = stream_merchant_id()', 'ALL');
SELECT stream_protect('api_key', 'merchant_id = stream_merchant_id()', 'ALL');
SELECT stream_protect('service', 'merchant_id = stream_merchant_id()', 'ALL');
SELECT stream_protect('channel', 'merchant_id = stream_merchant_id()', 'SELECT');
SELECT stream_protect('charge', 'merchant_id = stream_merchant_id()', 'SELECT');
SELECT stream_protect('settlement_item', 'merchant_id = stream_merchant_id()', 'SELECT');
SELECT stream_protect('settlement_request', 'merchant_id = stream_merchant_id()', 'ALL');
SELECT stream_protect('sponsorship_share', 'merchant_id = stream_merchant_id()', 'SELECT');
SELECT stream_protect('grant_control', 'merchant_id = stream_merchant_id()', 'ALL');
-- A merchant sees the grants it has a channel for, and what belongs to those.
SELECT stream_protect(
  '"grant"', 'EXISTS (SELECT FROM channel c WHERE c.grant_id = "grant".grant_id AND c.merchant_id = stream_merchant_id())', 'SELECT');
SELECT stream_protect(
  'account', 'EXISTS (SELECT FROM "grant" g WHERE g.account = account.account AND g.token = account.token)', 'SELECT');
SELECT stream_protect(
  'settlement', 'EXISTS (SELECT FROM settlement_item i WHERE i.settlement_id = settlement.id AND i.merchant_id = stream_merchant_id())', 'SELECT');
CREATE POLICY tenant_sees_operator ON grant_control FOR SELECT TO stream_tenant
  USING (merchant_id IS NULL AND EXISTS (SELECT FROM "grant" g WHERE g.grant_id = grant_control.grant_id));

GRANT SELECT, INSERT, UPDATE, DELETE ON
  merchant, api_key, service, "grant", account, grant_control, channel, settlement, settlement_item, settlement_request,
  indexer_cursor, indexed_block, chain_event, sponsorship, sponsorship_share
  TO stream_service;
-- The journal is append-only.
GRANT SELECT, INSERT ON charge TO stream_service;
GRANT EXECUTE ON FUNCTION ensure_charge_partition(timestamptz) TO stream_service;

GRANT SELECT ON
  merchant, api_key, service, "grant", account, grant_control, channel, charge, settlement, settlement_item,
  settlement_request, sponsorship_share
  TO stream_tenant;
GRANT UPDATE (name) ON merchant TO stream_tenant;
GRANT INSERT, UPDATE ON api_key, service TO stream_tenant;
GRANT INSERT, UPDATE, DELETE ON grant_control TO stream_tenant;
GRANT INSERT, UPDATE (actor, created_at) ON settlement_request TO stream_tenant;
