-- Incidents that nobody's charge opened, and who may read which.

-- What an owner asked for has no charge.
ALTER TABLE sentinel_incident
  ALTER COLUMN payee DROP NOT NULL,
  ALTER COLUMN request_id DROP NOT NULL,
  ALTER COLUMN charged_at DROP NOT NULL,
  ADD CHECK ((payee IS NULL) = (request_id IS NULL) AND (payee IS NULL) = (charged_at IS NULL));

-- A merchant sees those of the grants it has a channel for; the grant's own policy says which those are. What of them is
-- not about the merchant, the gateway leaves out.
ALTER POLICY tenant ON sentinel_incident
  USING (EXISTS (SELECT FROM "grant" g WHERE g.grant_id = sentinel_incident.grant_id));
ALTER POLICY tenant ON sentinel_stop
  USING (EXISTS (SELECT FROM "grant" g WHERE g.grant_id = sentinel_stop.grant_id));
GRANT SELECT ON sentinel_incident, sentinel_stop TO stream_tenant;

SELECT stream_admit_owner('sentinel_incident', 'account = stream_account()', 'SELECT');
SELECT stream_admit_owner('sentinel_stop', 'account = stream_account()', 'SELECT');
SELECT stream_admit_owner('sentinel_event', 'account = stream_account()', 'SELECT');
GRANT SELECT ON sentinel_incident, sentinel_stop, sentinel_event TO stream_owner;
