-- Several may hold a grant at once, each for their own reason: lifting one hold leaves the others.

ALTER TABLE grant_control ADD COLUMN holder text;
UPDATE grant_control SET holder = CASE WHEN merchant_id IS NULL THEN 'operator' ELSE 'merchant' END;
ALTER TABLE grant_control
  ALTER COLUMN holder SET NOT NULL,
  -- rule: one that somebody wrote, for as long as it says. sentinel: an open incident.
  ADD CHECK (CASE holder
    WHEN 'merchant' THEN merchant_id IS NOT NULL
    WHEN 'operator' THEN merchant_id IS NULL
    WHEN 'sentinel' THEN merchant_id IS NULL
    ELSE holder = 'rule' END),
  DROP CONSTRAINT grant_control_unique,
  ADD CONSTRAINT grant_control_unique UNIQUE NULLS NOT DISTINCT (grant_id, merchant_id, holder);

-- What is told of it ---------------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION webhook_owner_grant_changed(
  change text, changed_grant text, changed_by text, by_merchant text, why text
) RETURNS void
  LANGUAGE sql SECURITY DEFINER
  SET search_path = pg_catalog, public
AS $$
  SELECT webhook_tell_owner(g.account, change, jsonb_build_object(
    'grantId', g.grant_id, 'account', g.account, 'token', g.token, 'sessionKey', g.session_key,
    'by', changed_by, 'merchantId', by_merchant, 'reason', why,
    'status', CASE
      WHEN g.status IN ('pending', 'none') THEN g.status
      WHEN g.status = 'revoked' OR a.epoch > g.epoch OR control.removed THEN 'revoked'
      WHEN g.status = 'frozen' OR a.account_frozen OR control.frozen OR o.grant_id IS NOT NULL THEN 'frozen'
      ELSE 'active' END))
  FROM "grant" g
  LEFT JOIN account a ON a.account = g.account AND a.token = g.token
  LEFT JOIN owner_freeze o ON o.grant_id = g.grant_id
  CROSS JOIN LATERAL (
    SELECT bool_or(gc.state = 'removed') AS removed, bool_or(gc.state = 'frozen') AS frozen FROM grant_control gc
    WHERE gc.grant_id = g.grant_id AND gc.merchant_id IS NULL
  ) control
  WHERE g.grant_id = changed_grant
$$;

CREATE OR REPLACE FUNCTION webhook_control_changed() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER
  SET search_path = pg_catalog, public
AS $$
DECLARE
  control grant_control := CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
BEGIN
  -- Renewed with another reason: nothing changed.
  IF TG_OP = 'UPDATE' AND NEW.state = OLD.state THEN
    RETURN NULL;
  END IF;
  PERFORM webhook_grant_changed(
    CASE WHEN TG_OP = 'DELETE' THEN 'grant.unfrozen' WHEN control.state = 'removed' THEN 'grant.revoked'
      ELSE 'grant.frozen' END,
    control.grant_id, control.merchant_id, control.holder,
    CASE WHEN TG_OP = 'DELETE' THEN NULL ELSE control.reason END);
  RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION webhook_owner_control_changed() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER
  SET search_path = pg_catalog, public
AS $$
DECLARE
  control grant_control := CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END;
BEGIN
  IF TG_OP = 'UPDATE' AND NEW.state = OLD.state THEN
    RETURN NULL;
  END IF;
  PERFORM webhook_owner_grant_changed(
    CASE WHEN TG_OP = 'DELETE' THEN 'grant.unfrozen' WHEN control.state = 'removed' THEN 'grant.revoked'
      ELSE 'grant.frozen' END,
    control.grant_id, control.holder, control.merchant_id,
    CASE WHEN TG_OP = 'DELETE' THEN NULL ELSE control.reason END);
  RETURN NULL;
END
$$;
