-- From a request to the transaction that paid for it: the journal keeps the trace id of each charge, and what names an
-- operation or a transaction leads to its settlement.

ALTER TABLE charge
  -- W3C trace id. NULL: charged by a gateway that did not know it.
  ADD COLUMN trace_id uuid,
  -- NULL: before this migration.
  ADD COLUMN journalled_at timestamptz(3);
ALTER TABLE charge ALTER COLUMN journalled_at SET DEFAULT now();

-- Ids of our own begin with the time, so the index grows at its end.
CREATE INDEX charge_trace ON charge (trace_id) WHERE trace_id IS NOT NULL;

CREATE INDEX settlement_user_op_hash ON settlement (user_op_hash) WHERE user_op_hash IS NOT NULL;
CREATE INDEX settlement_earlier_user_op_hashes ON settlement USING gin (earlier_user_op_hashes)
  WHERE cardinality(earlier_user_op_hashes) > 0;
CREATE INDEX settlement_tx_hash ON settlement (tx_hash) WHERE tx_hash IS NOT NULL;
CREATE INDEX settlement_transaction_hashes ON settlement_transaction USING gin (hashes);
-- What a trace is followed along: the settlements of a grant in their order.
CREATE INDEX settlement_grant_created ON settlement (grant_id, created_at);
-- Dead letters are few; metrics count them every few seconds.
CREATE INDEX settlement_dead ON settlement (failure_reason) WHERE state = 'dead' AND written_off_at IS NULL;
