-- Alerts by e-mail and Telegram: where somebody is told of incidents, what was sent there, and the links in it.

-- Whose a channel is: a merchant's, an account's, or, with neither, the operator's.
CREATE TABLE alert_channel (
  id text PRIMARY KEY CHECK (id LIKE 'ach\_%'),
  merchant_id text REFERENCES merchant (id),
  account evm_address,
  kind text NOT NULL CHECK (kind IN ('email', 'telegram')),
  -- An e-mail address, or the id of a chat. NULL: a chat that nobody has started yet.
  target text CHECK (length(target) >= 1 AND length(target) <= 254 AND target !~ '[[:cntrl:]]'),
  least_severity text NOT NULL CHECK (least_severity IN ('info', 'warning', 'critical')),
  -- unverified: nothing is sent but what verifies it.
  state text NOT NULL CHECK (state IN ('unverified', 'active', 'disabled')),
  -- refused: the receiving server takes no mail for the address. blocked: the bot may not write to the chat. gone: there
  -- is no such chat. stopped: by hand, in the chat.
  disabled_reason text CHECK (disabled_reason IN ('refused', 'blocked', 'gone', 'stopped')),
  -- In the words of who refused it.
  disabled_detail text CHECK (length(disabled_detail) BETWEEN 1 AND 300),
  created_at timestamptz(3) NOT NULL,
  verified_at timestamptz(3),
  disabled_at timestamptz(3),
  CHECK (merchant_id IS NULL OR account IS NULL),
  CHECK (kind <> 'email' OR target IS NOT NULL),
  CHECK (state <> 'active' OR (target IS NOT NULL AND verified_at IS NOT NULL)),
  CHECK ((state = 'disabled') = (disabled_reason IS NOT NULL) AND (state = 'disabled') = (disabled_at IS NOT NULL))
);
CREATE UNIQUE INDEX alert_channel_once
  ON alert_channel (coalesce(merchant_id, ''), coalesce(account, ''), kind, lower(target))
  WHERE target IS NOT NULL AND state <> 'disabled';
CREATE INDEX alert_channel_merchant ON alert_channel (merchant_id, id);
CREATE INDEX alert_channel_account ON alert_channel (account, id);

-- One message to one channel: once, whoever finds that it is due.
CREATE TABLE alert_delivery (
  id text PRIMARY KEY CHECK (id LIKE 'adl\_%'),
  -- The order in which a channel gets them.
  position bigint GENERATED ALWAYS AS IDENTITY,
  channel_id text NOT NULL REFERENCES alert_channel (id) ON DELETE CASCADE,
  merchant_id text REFERENCES merchant (id),
  account evm_address,
  incident_id text REFERENCES sentinel_incident (id),
  kind text NOT NULL
    CHECK (kind IN ('verify', 'verified', 'test', 'opened', 'repeated', 'acknowledged', 'stopped', 'closed')),
  number integer NOT NULL CHECK (number >= 0),
  -- failed: given up. skipped: it had nothing to say any more.
  state text NOT NULL CHECK (state IN ('pending', 'delivered', 'failed', 'skipped')),
  -- Tries begun.
  attempts integer NOT NULL DEFAULT 0 CHECK (attempts >= 0),
  -- While somebody sends it: when their lease ends. NULL at the end.
  next_attempt_at timestamptz(3),
  lease_owner text,
  last_error text CHECK (length(last_error) BETWEEN 1 AND 300),
  created_at timestamptz(3) NOT NULL,
  ended_at timestamptz(3),
  CONSTRAINT alert_delivery_once UNIQUE NULLS NOT DISTINCT (channel_id, incident_id, kind, number),
  CHECK ((incident_id IS NULL) = (kind IN ('verify', 'verified', 'test'))),
  CHECK (merchant_id IS NULL OR account IS NULL),
  CHECK ((state = 'pending') = (next_attempt_at IS NOT NULL) AND (state = 'pending') = (ended_at IS NULL))
);
CREATE INDEX alert_delivery_pending ON alert_delivery (channel_id, position) WHERE state = 'pending';
CREATE INDEX alert_delivery_incident ON alert_delivery (incident_id, channel_id);
CREATE INDEX alert_delivery_merchant ON alert_delivery (merchant_id);
CREATE INDEX alert_delivery_account ON alert_delivery (account);

-- What somebody may do once, by knowing a token.
CREATE TABLE alert_link (
  id text PRIMARY KEY CHECK (id LIKE 'lnk\_%'),
  channel_id text NOT NULL REFERENCES alert_channel (id) ON DELETE CASCADE,
  -- The message that carries it. NULL: it was answered to who made the channel.
  delivery_id text REFERENCES alert_delivery (id) ON DELETE CASCADE,
  incident_id text REFERENCES sentinel_incident (id),
  purpose text NOT NULL CHECK (purpose IN ('verify', 'acknowledge', 'confirm', 'reject')),
  -- SHA-256 of the token, hex. The token has 256 bits.
  hash text NOT NULL UNIQUE CHECK (hash ~ '^[0-9a-f]{64}$'),
  created_at timestamptz(3) NOT NULL,
  expires_at timestamptz(3) NOT NULL,
  used_at timestamptz(3),
  UNIQUE (delivery_id, purpose),
  CHECK ((incident_id IS NULL) = (purpose = 'verify'))
);
CREATE INDEX alert_link_channel ON alert_link (channel_id);
CREATE INDEX alert_link_incident ON alert_link (incident_id) WHERE used_at IS NOT NULL;
CREATE INDEX alert_link_expires ON alert_link (expires_at);

-- Messages that ask an address whether it wants to be told, to bound them. SHA-256 of the address, hex.
CREATE TABLE alert_verification (
  target_hash text NOT NULL CHECK (target_hash ~ '^[0-9a-f]{64}$'),
  asked_at timestamptz(3) NOT NULL
);
CREATE INDEX alert_verification_target ON alert_verification (target_hash, asked_at);
CREATE INDEX alert_verification_asked ON alert_verification (asked_at);

-- What the sentinels of this deployment can send, and who of them listens to the bot.
CREATE TABLE alert_sender (
  kind text PRIMARY KEY CHECK (kind IN ('email', 'telegram')),
  configured boolean NOT NULL,
  -- From whom: an e-mail address, or the bot's name. NULL: not known yet.
  sender text,
  told_at timestamptz(3) NOT NULL,
  -- The first update of the bot that nobody has seen to.
  update_offset bigint NOT NULL DEFAULT 0,
  poller text,
  poller_until timestamptz(3)
);

SELECT stream_protect('alert_channel', 'merchant_id = stream_merchant_id()', 'ALL');
SELECT stream_protect('alert_delivery', 'merchant_id = stream_merchant_id()', 'SELECT');
SELECT stream_protect('alert_link', 'false', 'SELECT');
SELECT stream_protect('alert_verification', 'false', 'SELECT');
SELECT stream_protect('alert_sender', 'false', 'SELECT');
SELECT stream_admit_owner('alert_channel', 'account = stream_account()', 'ALL');
SELECT stream_admit_owner('alert_delivery', 'account = stream_account()', 'SELECT');
GRANT SELECT, INSERT, UPDATE, DELETE
  ON alert_channel, alert_delivery, alert_link, alert_verification, alert_sender TO stream_service;
-- Made by the service, which bounds them and leaves them unverified.
GRANT SELECT, DELETE ON alert_channel TO stream_tenant, stream_owner;
GRANT SELECT ON alert_delivery TO stream_tenant, stream_owner;

-- Who is told ---------------------------------------------------------------------------------------------------------
-- Written in the transaction of the change: there is something to send if and only if it was committed. The moment is
-- that of the change, so that nothing waits for another clock.

CREATE FUNCTION alert_rank(severity text) RETURNS integer
  LANGUAGE sql IMMUTABLE
  RETURN CASE severity WHEN 'critical' THEN 2 WHEN 'warning' THEN 1 ELSE 0 END;

-- The account's owner and the operator of every incident. A merchant of what stops a grant that pays them: alerts are about
-- what the owner spends elsewhere.
CREATE FUNCTION alert_tell_opened(told sentinel_incident) RETURNS void
  LANGUAGE sql SECURITY DEFINER
  SET search_path = pg_catalog, public
AS $$
  INSERT INTO alert_delivery
    (id, channel_id, merchant_id, account, incident_id, kind, number, state, next_attempt_at, created_at)
  SELECT 'adl_' || replace(gen_random_uuid()::text, '-', ''), c.id, c.merchant_id, c.account, told.id, 'opened', 0,
    'pending', told.opened_at, told.opened_at
  FROM alert_channel c
  WHERE c.state = 'active' AND alert_rank(told.severity) >= alert_rank(c.least_severity)
    AND (
      c.account = told.account
      OR (c.account IS NULL AND c.merchant_id IS NULL)
      OR (told.action <> 'alert' AND c.merchant_id IN (
        SELECT p.merchant_id FROM channel p WHERE p.grant_id = told.grant_id AND p.merchant_id IS NOT NULL))
    )
  ORDER BY c.id
  ON CONFLICT DO NOTHING
$$;

-- Whoever was told that it opened, whatever became of that message.
CREATE FUNCTION alert_tell_more(told_incident text, told_kind text, at timestamptz) RETURNS void
  LANGUAGE sql SECURITY DEFINER
  SET search_path = pg_catalog, public
AS $$
  INSERT INTO alert_delivery
    (id, channel_id, merchant_id, account, incident_id, kind, number, state, next_attempt_at, created_at)
  SELECT 'adl_' || replace(gen_random_uuid()::text, '-', ''), c.id, c.merchant_id, c.account, told_incident, told_kind,
    0, 'pending', at, at
  FROM alert_delivery d JOIN alert_channel c ON c.id = d.channel_id
  WHERE d.incident_id = told_incident AND d.kind = 'opened' AND c.state = 'active'
  ORDER BY c.id
  ON CONFLICT DO NOTHING
$$;

CREATE FUNCTION alert_incident_changed() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER
  SET search_path = pg_catalog, public
AS $$
BEGIN
  IF TG_OP = 'INSERT' THEN
    PERFORM alert_tell_opened(NEW);
  ELSIF NEW.state = 'acknowledged' AND OLD.state = 'open' THEN
    PERFORM alert_tell_more(NEW.id, 'acknowledged', NEW.acknowledged_at);
  ELSIF NEW.state = 'closed' AND OLD.state <> 'closed' THEN
    PERFORM alert_tell_more(NEW.id, 'closed', NEW.closed_at);
  END IF;
  RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER alert_incident_changed AFTER INSERT OR UPDATE OF state ON sentinel_incident
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION alert_incident_changed();

CREATE FUNCTION alert_stop_ended() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER
  SET search_path = pg_catalog, public
AS $$
BEGIN
  PERFORM alert_tell_more(NEW.incident_id, 'stopped', NEW.updated_at);
  RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER alert_stop_ended AFTER UPDATE OF chain_state ON sentinel_stop
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
  WHEN (NEW.chain_state IN ('confirmed', 'impossible') AND OLD.chain_state NOT IN ('confirmed', 'impossible'))
  EXECUTE FUNCTION alert_stop_ended();

-- Only triggers call them.
REVOKE ALL ON FUNCTION alert_tell_opened(sentinel_incident), alert_tell_more(text, text, timestamptz),
  alert_incident_changed(), alert_stop_ended() FROM PUBLIC;
