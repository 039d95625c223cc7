-- Who had addresses asked, so that one holder does not have many strangers asked.

ALTER TABLE alert_verification ADD COLUMN holder text NOT NULL DEFAULT 'operator';
ALTER TABLE alert_verification ALTER COLUMN holder DROP DEFAULT;
CREATE INDEX alert_verification_holder ON alert_verification (holder, asked_at);
