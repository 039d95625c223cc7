-- Payments by x402's scheme `exact`: one EIP-3009 authorisation for one call, settled before the call is answered.

-- What a call costs by `exact`, base units. NULL: the service does not take it.
ALTER TABLE service ADD COLUMN exact_price_atomic uint128 CHECK (exact_price_atomic > 0);

CREATE TABLE x402_payment (
  id text PRIMARY KEY CHECK (id LIKE 'xpm\_%'),
  -- gateway: for a call of a service here. facilitator: for somebody else's server.
  origin text NOT NULL CHECK (origin IN ('gateway', 'facilitator')),
  -- NULL: for a server that needs no key.
  merchant_id text REFERENCES merchant (id),
  service_id text REFERENCES service (id),
  token evm_address NOT NULL,
  payer evm_address NOT NULL,
  payee evm_address NOT NULL,
  amount uint128 NOT NULL CHECK (amount > 0),
  -- Of the authorisation, unix seconds, both exclusive.
  valid_after uint256 NOT NULL,
  valid_before uint256 NOT NULL,
  nonce hex_bytes32 NOT NULL,
  signature hex_bytes NOT NULL,
  -- The client's name for its request; x402's extension payment-identifier.
  payment_identifier text CHECK (length(payment_identifier) BETWEEN 16 AND 128),
  -- What was asked for.
  fingerprint text NOT NULL,
  -- verified: the authorisation is good and taken by one request, nothing moves yet. settling: a transaction may be in
  -- the chain. settled: the money has moved. failed: it has not, and no transaction of ours can move it any more.
  -- released: the call was not served, and nothing was ever sent. The last two may be verified again.
  state text NOT NULL CHECK (state IN ('verified', 'settling', 'settled', 'failed', 'released')),
  -- Why it failed or was released.
  reason text,
  -- The process that serves it. Past this it is taken to be gone.
  lease_owner text,
  lease_until timestamptz(3),
  -- What moved the money: ours, or somebody else's with the same authorisation.
  tx_hash hex_bytes32,
  block_number bigint,
  -- The answer has left. NULL and settled: it is owed.
  answered_at timestamptz(3),
  created_at timestamptz(3) NOT NULL DEFAULT now(),
  updated_at timestamptz(3) NOT NULL DEFAULT now(),
  -- The authority for the nonce: an authorisation buys one call, whatever number of gateways is asked.
  CONSTRAINT x402_payment_nonce_unique UNIQUE (token, payer, nonce),
  CONSTRAINT x402_payment_identifier_unique UNIQUE (payee, payer, payment_identifier),
  CHECK (state <> 'settled' OR tx_hash IS NOT NULL),
  CHECK (state NOT IN ('failed', 'released') OR reason IS NOT NULL),
  CHECK ((lease_owner IS NULL) = (lease_until IS NULL))
);
CREATE INDEX x402_payment_merchant ON x402_payment (merchant_id, id);
CREATE INDEX x402_payment_leased ON x402_payment (lease_until) WHERE state IN ('verified', 'settling');

-- Every state it was in. Written by a trigger, so that no change can be made without it.
CREATE TABLE x402_payment_transition (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  payment_id text NOT NULL REFERENCES x402_payment (id) ON DELETE CASCADE,
  at timestamptz(3) NOT NULL DEFAULT clock_timestamp(),
  -- NULL: it began.
  from_state text,
  to_state text NOT NULL,
  reason text,
  -- The process that had the lease.
  worker text,
  tx_hash hex_bytes32
);
CREATE INDEX x402_payment_transition_payment ON x402_payment_transition (payment_id, id);

CREATE FUNCTION x402_payment_changed() RETURNS trigger
  LANGUAGE plpgsql
  SET search_path = pg_catalog, public
AS $$
BEGIN
  INSERT INTO x402_payment_transition (payment_id, from_state, to_state, reason, worker, tx_hash)
  VALUES (NEW.id, CASE WHEN TG_OP = 'UPDATE' THEN OLD.state END, NEW.state, NEW.reason,
    coalesce(NEW.lease_owner, CASE WHEN TG_OP = 'UPDATE' THEN OLD.lease_owner END), NEW.tx_hash);
  RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION x402_payment_changed() FROM PUBLIC;
CREATE TRIGGER x402_payment_began AFTER INSERT ON x402_payment
  FOR EACH ROW EXECUTE FUNCTION x402_payment_changed();
CREATE TRIGGER x402_payment_changed AFTER UPDATE ON x402_payment
  FOR EACH ROW WHEN (NEW.state IS DISTINCT FROM OLD.state) EXECUTE FUNCTION x402_payment_changed();

-- The account that pays the gas, and the nonce of its next transaction: any number of gateways send with one key.
CREATE TABLE x402_relayer (
  sender evm_address PRIMARY KEY,
  next_nonce bigint NOT NULL CHECK (next_nonce >= 0)
);

-- Recorded as signed before it is sent, so that whoever finds it can send it again.
CREATE TABLE x402_transaction (
  id text PRIMARY KEY CHECK (id LIKE 'xtx\_%'),
  payment_id text NOT NULL REFERENCES x402_payment (id) ON DELETE CASCADE,
  -- deploy: the factory call of ERC-6492 that makes the payer's account. transfer: the authorisation.
  purpose text NOT NULL CHECK (purpose IN ('deploy', 'transfer')),
  sender evm_address NOT NULL,
  nonce bigint NOT NULL CHECK (nonce >= 0),
  -- The newest as it is sent, and the hashes of all, oldest first: any of them may be included.
  raw_transaction hex_bytes NOT NULL,
  hashes text[] NOT NULL,
  -- open: it may still be included. included: it was. lost: another transaction has its nonce.
  state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'included', 'lost')),
  tx_hash hex_bytes32,
  gas_used uint128,
  gas_cost_wei uint128,
  created_at timestamptz(3) NOT NULL DEFAULT now(),
  -- When the newest version was signed.
  signed_at timestamptz(3) NOT NULL DEFAULT now(),
  CONSTRAINT x402_transaction_nonce_unique UNIQUE (sender, nonce)
);
CREATE INDEX x402_transaction_payment ON x402_transaction (payment_id);
CREATE INDEX x402_transaction_open ON x402_transaction (sender, nonce) WHERE state = 'open';

SELECT stream_protect('x402_payment', 'merchant_id = stream_merchant_id()', 'SELECT');

GRANT SELECT, INSERT, UPDATE ON x402_payment, x402_relayer, x402_transaction TO stream_service;
GRANT SELECT, INSERT ON x402_payment_transition TO stream_service;
GRANT SELECT ON x402_payment TO stream_tenant;
