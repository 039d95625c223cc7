-- Ordinary transactions that settle for many accounts at once (settleMany).

CREATE TABLE settlement_transaction (
  id text PRIMARY KEY CHECK (id LIKE 'stx\_%'),
  -- The account that pays the gas.
  sender evm_address NOT NULL,
  -- open: its outcome is to come. confirmed: included, and the settlements have their outcomes. lost: it never will be.
  state text NOT NULL CHECK (state IN ('open', 'confirmed', 'lost')),
  -- NULL until the first transaction is recorded; all that replace it have the same.
  nonce bigint CHECK (nonce >= 0),
  -- The newest as it is sent, and the hashes of all, oldest first: any of them may be included.
  raw_transaction hex_bytes,
  hashes text[] NOT NULL DEFAULT '{}',
  -- When a node first took the newest.
  sent_at timestamptz(3),
  -- The one that was included.
  tx_hash hex_bytes32,
  block_number bigint,
  gas_used uint128,
  gas_cost_wei uint128,
  lease_owner text,
  lease_until timestamptz(3),
  created_at timestamptz(3) NOT NULL DEFAULT now(),
  updated_at timestamptz(3) NOT NULL DEFAULT now(),
  CHECK ((nonce IS NULL) = (raw_transaction IS NULL) AND (nonce IS NULL) = (cardinality(hashes) = 0)),
  CHECK (state <> 'confirmed' OR (tx_hash IS NOT NULL AND block_number IS NOT NULL))
);
-- A sender's transactions follow each other: two open ones could take each other's nonce.
CREATE UNIQUE INDEX settlement_transaction_one_open ON settlement_transaction (sender) WHERE state = 'open';

-- Which settlements were in it. A settlement that was in several may have been paid by any of them.
CREATE TABLE settlement_transaction_member (
  transaction_id text NOT NULL REFERENCES settlement_transaction (id) ON DELETE CASCADE,
  settlement_id text NOT NULL REFERENCES settlement (id) ON DELETE CASCADE,
  -- Its place in the call data.
  position integer NOT NULL CHECK (position >= 0),
  PRIMARY KEY (settlement_id, transaction_id),
  UNIQUE (transaction_id, position)
);

GRANT SELECT, INSERT, UPDATE, DELETE ON settlement_transaction, settlement_transaction_member TO stream_service;
