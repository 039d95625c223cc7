-- API keys that may do some things only, that end by themselves, and whose secret can be changed while the old one goes on
-- for a while.

ALTER TABLE api_key
  -- What a key may do, by the words of the management API; `*` is everything that its holder may do.
  ADD COLUMN scopes text[] NOT NULL DEFAULT '{*}' CHECK (cardinality(scopes) BETWEEN 1 AND 64),
  -- NULL: it does not end.
  ADD COLUMN expires_at timestamptz(3),
  ADD COLUMN rotated_at timestamptz(3),
  -- The secret before the last rotation, good until `previous_until`.
  ADD COLUMN previous_hash text UNIQUE CHECK (previous_hash ~ '^[0-9a-f]{64}$'),
  ADD COLUMN previous_prefix text,
  ADD COLUMN previous_until timestamptz(3),
  ADD CHECK ((previous_hash IS NULL) = (previous_until IS NULL) AND (previous_hash IS NULL) = (previous_prefix IS NULL));

DROP TRIGGER api_key_audited ON api_key;
CREATE TRIGGER api_key_audited AFTER INSERT OR UPDATE OR DELETE ON api_key
  FOR EACH ROW WHEN (current_setting('stream.actor', true) <> '')
  EXECUTE FUNCTION audit_change('id', 'hash', 'previous_hash', 'last_used_at');
