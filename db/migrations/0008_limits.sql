-- How far a merchant trusts, and how fast a grant may spend.

-- What a merchant serves on credit. No row: credit without limits of the merchant's own.
CREATE TABLE merchant_credit (
  merchant_id text PRIMARY KEY REFERENCES merchant (id),
  mode text NOT NULL CHECK (mode IN ('credit', 'reserve_only')),
  -- What may be owed and not settled: by all accounts, by one account, by one grant. NULL: no limit.
  max_total uint128,
  max_per_account uint128,
  max_per_grant uint128,
  -- Rises with every change, so that a gateway can tell an old choice from a new one.
  version bigint NOT NULL CHECK (version > 0),
  updated_at timestamptz(3) NOT NULL DEFAULT now(),
  CHECK (mode = 'credit' OR (max_total IS NULL AND max_per_account IS NULL AND max_per_grant IS NULL))
);
-- What is owed to a merchant is looked at all the time.
CREATE INDEX channel_owing_merchant ON channel (merchant_id) WHERE charged > settled;

-- Of one grant at a service; max_amount_per_call and max_calls_per_minute are there already.
ALTER TABLE service
  ADD COLUMN max_calls_per_hour integer CHECK (max_calls_per_hour > 0),
  ADD COLUMN max_calls_per_day integer CHECK (max_calls_per_day > 0),
  ADD COLUMN max_amount_per_minute uint128,
  ADD COLUMN max_amount_per_hour uint128,
  ADD COLUMN max_amount_per_day uint128;

-- What a grant may spend, besides its terms. Owner and operator set theirs apart, and all of them hold.
CREATE TABLE grant_limit (
  grant_id hex_bytes32 NOT NULL,
  -- NULL: at all payees together.
  payee evm_address,
  set_by text NOT NULL CHECK (set_by IN ('owner', 'operator')),
  max_amount_per_call uint128,
  max_calls_per_minute integer CHECK (max_calls_per_minute > 0),
  max_calls_per_hour integer CHECK (max_calls_per_hour > 0),
  max_calls_per_day integer CHECK (max_calls_per_day > 0),
  max_amount_per_minute uint128,
  max_amount_per_hour uint128,
  max_amount_per_day uint128,
  actor text NOT NULL,
  created_at timestamptz(3) NOT NULL DEFAULT now(),
  CONSTRAINT grant_limit_unique UNIQUE NULLS NOT DISTINCT (grant_id, payee, set_by)
);

SELECT stream_protect('merchant_credit', 'merchant_id = stream_merchant_id()', 'SELECT');
SELECT stream_protect('grant_limit', 'false', 'SELECT');

GRANT SELECT, INSERT, UPDATE ON merchant_credit TO stream_service;
GRANT SELECT ON merchant_credit TO stream_tenant;
GRANT SELECT, INSERT, DELETE ON grant_limit TO stream_service;
