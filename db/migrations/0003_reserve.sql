-- What an account keeps in the prepaid reserve, and the settlement that a withdrawal from it makes due.

ALTER TABLE account
  ADD COLUMN reserve_balance uint128 NOT NULL DEFAULT 0,
  -- The part of it that was asked back.
  ADD COLUMN reserve_withdrawing uint128 NOT NULL DEFAULT 0,
  -- Unix seconds from which it can be taken; 0: nothing is asked back.
  ADD COLUMN reserve_withdrawable_at bigint NOT NULL DEFAULT 0 CHECK (reserve_withdrawable_at >= 0);
-- Withdrawals are rare, and settlement looks for them all the time.
CREATE INDEX account_withdrawing ON account (account, token) WHERE reserve_withdrawing > 0;

ALTER TABLE settlement
  DROP CONSTRAINT settlement_trigger_check,
  ADD CONSTRAINT settlement_trigger_check CHECK (trigger IN ('threshold', 'age', 'expiry', 'request', 'withdrawal'));
