-- Rules that owners, merchants and the operator write, what they spare, their dry runs, and the holds that come of them.
-- A row is a merchant's, an account's, or, with neither, the operator's.

CREATE TABLE sentinel_rule (
  id text PRIMARY KEY CHECK (id LIKE 'rul\_%'),
  merchant_id text REFERENCES merchant (id),
  account evm_address,
  -- deleted: nobody sees it any more. What it found still names it.
  state text NOT NULL CHECK (state IN ('draft', 'live', 'off', 'deleted')),
  -- The newest; it is what is live.
  version integer NOT NULL CHECK (version > 0),
  -- The version that could not be evaluated, and whose owner was told so.
  failed_version integer,
  created_at timestamptz(3) NOT NULL DEFAULT now(),
  changed_at timestamptz(3) NOT NULL DEFAULT now(),
  CHECK (merchant_id IS NULL OR account IS NULL)
);
CREATE INDEX sentinel_rule_holder ON sentinel_rule (merchant_id, account, id) WHERE state <> 'deleted';
-- What sentinels look at all the time.
CREATE INDEX sentinel_rule_changed ON sentinel_rule (changed_at);
CREATE INDEX sentinel_rule_live ON sentinel_rule (id) WHERE state = 'live';

CREATE TABLE sentinel_dry_run (
  id text PRIMARY KEY CHECK (id LIKE 'dry\_%'),
  merchant_id text REFERENCES merchant (id),
  account evm_address,
  -- Of which rule, if it has been stored.
  rule_id text REFERENCES sentinel_rule (id),
  rule_version integer,
  expression text NOT NULL CHECK (length(expression) BETWEEN 1 AND 1000),
  scope jsonb NOT NULL,
  action text NOT NULL CHECK (action IN ('alert', 'block', 'freeze', 'revoke')),
  block_seconds integer CHECK (block_seconds > 0),
  from_at timestamptz(3) NOT NULL,
  until_at timestamptz(3) NOT NULL,
  state text NOT NULL CHECK (state IN ('pending', 'done', 'failed')),
  -- While a sentinel works on it.
  lease_owner text,
  lease_until timestamptz(3),
  attempts integer NOT NULL DEFAULT 0 CHECK (attempts >= 0),
  result jsonb,
  error text CHECK (length(error) BETWEEN 1 AND 500),
  actor text NOT NULL,
  created_at timestamptz(3) NOT NULL DEFAULT now(),
  finished_at timestamptz(3),
  CHECK (merchant_id IS NULL OR account IS NULL),
  CHECK (from_at < until_at AND until_at <= from_at + interval '31 days'),
  CHECK ((action = 'block') = (block_seconds IS NOT NULL)),
  CHECK ((state = 'done') = (result IS NOT NULL) AND (state = 'failed') = (error IS NOT NULL)),
  CHECK ((state = 'pending') = (finished_at IS NULL))
);
CREATE INDEX sentinel_dry_run_holder ON sentinel_dry_run (merchant_id, account, id);
CREATE INDEX sentinel_dry_run_rule ON sentinel_dry_run (rule_id, rule_version, id) WHERE rule_id IS NOT NULL;
CREATE INDEX sentinel_dry_run_pending ON sentinel_dry_run (id) WHERE state = 'pending';

-- Append-only: what a rule said when it found something can be read for ever.
CREATE TABLE sentinel_rule_version (
  rule_id text NOT NULL REFERENCES sentinel_rule (id),
  version integer NOT NULL CHECK (version > 0),
  merchant_id text REFERENCES merchant (id),
  account evm_address,
  name text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
  expression text NOT NULL CHECK (length(expression) BETWEEN 1 AND 1000),
  -- grantIds, payees, services: lists; one that is missing leaves nothing out.
  scope jsonb NOT NULL,
  action text NOT NULL CHECK (action IN ('alert', 'block', 'freeze', 'revoke')),
  severity text NOT NULL CHECK (severity IN ('info', 'warning', 'critical')),
  block_seconds integer CHECK (block_seconds > 0),
  actor text NOT NULL,
  created_at timestamptz(3) NOT NULL DEFAULT now(),
  PRIMARY KEY (rule_id, version),
  CHECK (merchant_id IS NULL OR account IS NULL),
  CHECK ((action = 'block') = (block_seconds IS NOT NULL)),
  -- A merchant's rule holds what goes to the merchant, and takes nobody's key away.
  CHECK (merchant_id IS NULL OR action <> 'revoke')
);

CREATE TABLE sentinel_allow (
  id text PRIMARY KEY CHECK (id LIKE 'alw\_%'),
  merchant_id text REFERENCES merchant (id),
  account evm_address,
  kind text NOT NULL CHECK (kind IN ('grant', 'payee', 'service')),
  -- A grant id or a payee in lower case, or the id of a service.
  value text NOT NULL CHECK (length(value) BETWEEN 1 AND 100),
  actor text NOT NULL,
  created_at timestamptz(3) NOT NULL DEFAULT now(),
  changed_at timestamptz(3) NOT NULL DEFAULT now(),
  removed_at timestamptz(3),
  CHECK (merchant_id IS NULL OR account IS NULL)
);
CREATE UNIQUE INDEX sentinel_allow_once ON sentinel_allow (coalesce(merchant_id, ''), coalesce(account, ''), kind, value)
  WHERE removed_at IS NULL;
CREATE INDEX sentinel_allow_changed ON sentinel_allow (changed_at);

-- What a rule holds at the gateways: the whole grant, or what goes to a merchant. Of grant_control, whose holder is 'rule'.
CREATE TABLE sentinel_rule_hold (
  id text PRIMARY KEY CHECK (id LIKE 'rhd\_%'),
  incident_id text NOT NULL UNIQUE REFERENCES sentinel_incident (id),
  rule_id text NOT NULL REFERENCES sentinel_rule (id),
  grant_id hex_bytes32 NOT NULL REFERENCES "grant" (grant_id),
  account evm_address NOT NULL,
  merchant_id text REFERENCES merchant (id),
  -- NULL: until somebody lifts it.
  until timestamptz(3),
  reason text NOT NULL CHECK (length(reason) BETWEEN 1 AND 200),
  -- Since when gateways refuse. NULL: not yet.
  placed_at timestamptz(3),
  lifted_at timestamptz(3),
  created_at timestamptz(3) NOT NULL
);
CREATE INDEX sentinel_rule_hold_standing ON sentinel_rule_hold (grant_id) WHERE lifted_at IS NULL;

-- The service writes, and its own conditions say whose. Others read what is theirs.
DO $$
DECLARE
  one regclass;
BEGIN
  FOREACH one IN ARRAY ARRAY['sentinel_rule', 'sentinel_rule_version', 'sentinel_dry_run', 'sentinel_allow']::regclass[] LOOP
    PERFORM stream_protect(one, 'merchant_id = stream_merchant_id()', 'SELECT');
    PERFORM stream_admit_owner(one, 'account = stream_account()', 'SELECT');
  END LOOP;
END
$$;
SELECT stream_protect('sentinel_rule_hold', 'merchant_id = stream_merchant_id()', 'SELECT');
SELECT stream_admit_owner('sentinel_rule_hold', 'account = stream_account()', 'SELECT');

GRANT SELECT, INSERT, UPDATE ON sentinel_rule, sentinel_rule_hold TO stream_service;
GRANT SELECT, INSERT, UPDATE, DELETE ON sentinel_dry_run, sentinel_allow TO stream_service;
GRANT SELECT, INSERT ON sentinel_rule_version TO stream_service;
GRANT SELECT ON sentinel_rule, sentinel_rule_version, sentinel_dry_run, sentinel_allow, sentinel_rule_hold
  TO stream_tenant, stream_owner;
