-- How much an incident matters, which own rule found it, and who has seen it.

ALTER TABLE sentinel_incident
  ADD COLUMN severity text NOT NULL DEFAULT 'critical' CHECK (severity IN ('info', 'warning', 'critical')),
  -- Of a rule that somebody wrote; NULL for those of the sentinel itself.
  ADD COLUMN rule_id text,
  ADD COLUMN acknowledged_at timestamptz(3),
  ADD COLUMN acknowledged_by text,
  DROP CONSTRAINT sentinel_incident_action_check,
  -- block: refused at the gateways for a while, and not on the chain.
  ADD CONSTRAINT sentinel_incident_action_check CHECK (action IN ('alert', 'block', 'freeze', 'revoke')),
  ADD CHECK ((acknowledged_at IS NULL) = (acknowledged_by IS NULL)),
  ADD CHECK (state <> 'acknowledged' OR acknowledged_at IS NOT NULL);
ALTER TABLE sentinel_incident ALTER COLUMN severity DROP DEFAULT;

CREATE OR REPLACE FUNCTION webhook_tell_of_incident(topic text, told_incident text, more jsonb) RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER
  SET search_path = pg_catalog, public
AS $$
DECLARE
  i sentinel_incident;
  payload jsonb;
BEGIN
  SELECT * INTO STRICT i FROM sentinel_incident WHERE id = told_incident;
  payload := jsonb_build_object('incidentId', i.id, 'grantId', i.grant_id, 'account', i.account,
    'token', (SELECT g.token FROM "grant" g WHERE g.grant_id = i.grant_id),
    'rule', i.rule, 'action', i.action, 'severity', i.severity, 'explanation', i.explanation) || more;
  PERFORM webhook_tell_owner(i.account, topic, payload);
  INSERT INTO outbox (topic, payload) VALUES (topic, payload);
END
$$;
