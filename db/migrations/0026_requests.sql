-- Requests of the management API: what each changed, and the answers to those that are to be repeated safely.

-- Which request it was: the name that its answer carries as `x-request-id`. NULL: written by no request, or long ago.
ALTER TABLE audit_entry
  ADD COLUMN request_id text DEFAULT nullif(current_setting('stream.request_id', true), '')
    CHECK (length(request_id) BETWEEN 1 AND 200);
CREATE INDEX audit_entry_request ON audit_entry (request_id, id) WHERE request_id IS NOT NULL;

-- A key that a caller has named one request with (draft-ietf-httpapi-idempotency-key-header).
CREATE TABLE idempotency_key (
  -- An API key's id, `operator` for the key of the configuration, or the id of an owner's session.
  caller text NOT NULL CHECK (length(caller) BETWEEN 1 AND 200),
  key text NOT NULL CHECK (length(key) BETWEEN 1 AND 255),
  -- SHA-256 of method, path, query and body.
  fingerprint text NOT NULL CHECK (fingerprint ~ '^[0-9a-f]{64}$'),
  -- Who is at it. Past the lease it is taken to be gone, and can change nothing any more; see audit_marks_request.
  attempt text NOT NULL CONSTRAINT idempotency_key_attempt_unique UNIQUE,
  lease_until timestamptz(3) NOT NULL,
  -- Set in the transaction of the change: from then on the request is not run again.
  changed_at timestamptz(3),
  -- What was changed, as the audit names it.
  subject text,
  -- NULL: not answered yet. The answer is sealed with a key that follows from the caller's own, which is not stored here;
  -- NULL with a status: it was too large to be kept.
  status integer CHECK (status BETWEEN 200 AND 599),
  answer text,
  created_at timestamptz(3) NOT NULL DEFAULT now(),
  expires_at timestamptz(3) NOT NULL,
  PRIMARY KEY (caller, key),
  CHECK (answer IS NULL OR status IS NOT NULL)
);
CREATE INDEX idempotency_key_expires ON idempotency_key (expires_at);

SELECT stream_protect('idempotency_key', 'false', 'SELECT');
GRANT SELECT, INSERT, UPDATE, DELETE ON idempotency_key TO stream_service;

-- An entry of a request with a key marks the key in the same transaction. Without the key's row the change does not
-- happen: somebody else has taken the request over, and makes it.
CREATE FUNCTION audit_marks_request() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER
  SET search_path = pg_catalog, public
AS $$
BEGIN
  UPDATE idempotency_key SET changed_at = coalesce(changed_at, now()), subject = coalesce(subject, NEW.subject)
  WHERE attempt = current_setting('stream.attempt', true);
  IF NOT FOUND THEN
    RAISE EXCEPTION 'the request was taken over by another attempt' USING ERRCODE = '40001';
  END IF;
  RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION audit_marks_request() FROM PUBLIC;
CREATE TRIGGER audit_marks_request AFTER INSERT ON audit_entry
  FOR EACH ROW WHEN (NEW.outcome = 'done' AND current_setting('stream.attempt', true) <> '')
  EXECUTE FUNCTION audit_marks_request();

-- Changes that requests make to these tables are written down by the database, so that none can be made without it. What
-- workers and the indexer do is no request's, and is not written down. Arguments: the column that names the subject, and
-- columns that are never shown.
CREATE FUNCTION audit_change() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER
  SET search_path = pg_catalog, public
AS $$
DECLARE
  hidden text[] := TG_ARGV[1:];
  was jsonb := CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) - hidden END;
  becomes jsonb := CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) - hidden END;
  about text := coalesce(to_jsonb(NEW), to_jsonb(OLD)) ->> TG_ARGV[0];
  happened text := CASE TG_OP WHEN 'INSERT' THEN 'create' WHEN 'UPDATE' THEN 'change' ELSE 'delete' END;
  shown_before jsonb := was;
  shown_after jsonb := becomes;
  random text := replace(gen_random_uuid()::text, '-', '');
BEGIN
  IF TG_OP = 'UPDATE' THEN
    -- A change shows what is different. One of hidden columns alone shows nothing but that it was.
    SELECT jsonb_object_agg(key, value) INTO shown_before
      FROM jsonb_each(was) WHERE value IS DISTINCT FROM becomes -> key;
    SELECT jsonb_object_agg(key, value) INTO shown_after
      FROM jsonb_each(becomes) WHERE value IS DISTINCT FROM was -> key;
  END IF;
  -- The id sorts by time: a version 7 UUID (RFC 9562).
  INSERT INTO audit_entry (id, actor, action, outcome, subject, before, after)
  VALUES (
    'aud_' || lpad(to_hex((extract(epoch FROM clock_timestamp()) * 1000)::bigint), 12, '0') || '7' || substr(random, 14),
    current_setting('stream.actor'), TG_TABLE_NAME || '_' || happened, 'done', left(about, 300), shown_before, shown_after
  );
  RETURN NULL;
END
$$;
REVOKE ALL ON FUNCTION audit_change() FROM PUBLIC;

CREATE TRIGGER merchant_audited AFTER INSERT OR UPDATE OR DELETE ON merchant
  FOR EACH ROW WHEN (current_setting('stream.actor', true) <> '') EXECUTE FUNCTION audit_change('id');
CREATE TRIGGER api_key_audited AFTER INSERT OR UPDATE OR DELETE ON api_key
  FOR EACH ROW WHEN (current_setting('stream.actor', true) <> '')
  EXECUTE FUNCTION audit_change('id', 'hash', 'last_used_at');
CREATE TRIGGER service_audited AFTER INSERT OR UPDATE OR DELETE ON service
  FOR EACH ROW WHEN (current_setting('stream.actor', true) <> '') EXECUTE FUNCTION audit_change('id', 'updated_at');
CREATE TRIGGER webhook_endpoint_audited AFTER INSERT OR UPDATE OR DELETE ON webhook_endpoint
  FOR EACH ROW WHEN (current_setting('stream.actor', true) <> '')
  EXECUTE FUNCTION audit_change('id', 'secret', 'previous_secret', 'updated_at');
CREATE TRIGGER webhook_delivery_audited AFTER INSERT OR UPDATE ON webhook_delivery
  FOR EACH ROW WHEN (current_setting('stream.actor', true) <> '') EXECUTE FUNCTION audit_change('id');
CREATE TRIGGER grant_control_audited AFTER INSERT OR UPDATE OR DELETE ON grant_control
  FOR EACH ROW WHEN (current_setting('stream.actor', true) <> '') EXECUTE FUNCTION audit_change('grant_id');
CREATE TRIGGER settlement_request_audited AFTER INSERT OR UPDATE ON settlement_request
  FOR EACH ROW WHEN (current_setting('stream.actor', true) <> '') EXECUTE FUNCTION audit_change('grant_id');
CREATE TRIGGER grant_audited AFTER INSERT ON "grant"
  FOR EACH ROW WHEN (current_setting('stream.actor', true) <> '')
  EXECUTE FUNCTION audit_change('grant_id', 'packed_terms');
CREATE TRIGGER channel_audited AFTER INSERT ON channel
  FOR EACH ROW WHEN (current_setting('stream.actor', true) <> '')
  EXECUTE FUNCTION audit_change('grant_id', 'payee_proof', 'signature');
