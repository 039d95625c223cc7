-- Alerts of own rules, and of more than one stop of an incident.

-- A merchant's rule is about its own charges and stops nothing elsewhere: of merchants it is told to that one alone, also where
-- it only alerts.
CREATE OR REPLACE FUNCTION alert_tell_opened(told sentinel_incident) RETURNS void
  LANGUAGE sql SECURITY DEFINER
  SET search_path = pg_catalog, public
AS $$
  INSERT INTO alert_delivery
    (id, channel_id, merchant_id, account, incident_id, kind, number, state, next_attempt_at, created_at)
  SELECT 'adl_' || replace(gen_random_uuid()::text, '-', ''), c.id, c.merchant_id, c.account, told.id, 'opened', 0,
    'pending', told.opened_at, told.opened_at
  FROM alert_channel c
  LEFT JOIN sentinel_rule r ON r.id = told.rule_id
  WHERE c.state = 'active' AND alert_rank(told.severity) >= alert_rank(c.least_severity)
    AND (
      c.account = told.account
      OR (c.account IS NULL AND c.merchant_id IS NULL)
      OR c.merchant_id = r.merchant_id
      OR (r.merchant_id IS NULL AND told.action <> 'alert' AND c.merchant_id IN (
        SELECT p.merchant_id FROM channel p WHERE p.grant_id = told.grant_id AND p.merchant_id IS NOT NULL))
    )
  ORDER BY c.id
  ON CONFLICT DO NOTHING
$$;

-- Each stop is told once, by its place among those of its incident: a freeze, and the revocation that its owner asked for.
CREATE OR REPLACE FUNCTION alert_stop_ended() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER
  SET search_path = pg_catalog, public
AS $$
BEGIN
  INSERT INTO alert_delivery
    (id, channel_id, merchant_id, account, incident_id, kind, number, state, next_attempt_at, created_at)
  SELECT 'adl_' || replace(gen_random_uuid()::text, '-', ''), c.id, c.merchant_id, c.account, NEW.incident_id, 'stopped',
    (SELECT count(*) FROM sentinel_stop s WHERE s.incident_id = NEW.incident_id AND s.id < NEW.id),
    'pending', NEW.updated_at, NEW.updated_at
  FROM alert_delivery d JOIN alert_channel c ON c.id = d.channel_id
  WHERE d.incident_id = NEW.incident_id AND d.kind = 'opened' AND c.state = 'active'
  ORDER BY c.id
  ON CONFLICT DO NOTHING;
  RETURN NULL;
END
$$;
