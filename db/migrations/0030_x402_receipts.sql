-- Payments by x402's `exact` are found again by whoever was paid, and by whoever paid.

-- The payer signed in as an owner. What the gateways use among themselves, and what lets an authorisation be sent, is not shown.
SELECT stream_admit_owner('x402_payment', 'payer = stream_account()', 'SELECT');
GRANT SELECT (id, origin, merchant_id, service_id, token, payer, payee, amount, payment_identifier, state, tx_hash,
  block_number, created_at, updated_at) ON x402_payment TO stream_owner;

-- By what its receipt says: the name that its payer gave the request, or the transaction. Its id is the primary key.
CREATE INDEX x402_payment_paid_identifier ON x402_payment (payment_identifier)
  WHERE state = 'settled' AND origin = 'gateway' AND payment_identifier IS NOT NULL;
CREATE INDEX x402_payment_paid_transaction ON x402_payment (tx_hash) WHERE state = 'settled' AND origin = 'gateway';

-- Newest first, for all, for a merchant, for a payer. A payment that is settled changes no more, but for its lease and its answer.
CREATE INDEX x402_payment_paid ON x402_payment (updated_at, id) WHERE state = 'settled' AND origin = 'gateway';
CREATE INDEX x402_payment_paid_merchant ON x402_payment (merchant_id, updated_at, id)
  WHERE state = 'settled' AND origin = 'gateway';
CREATE INDEX x402_payment_paid_payer ON x402_payment (payer, updated_at, id)
  WHERE state = 'settled' AND origin = 'gateway';
