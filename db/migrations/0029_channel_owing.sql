-- A charge changes a channel, and no index of it.

-- An index whose condition names `charged` is written at every charge, and all others of the table with it. This changes when a
-- channel begins to owe and when it has been paid.
ALTER TABLE channel ADD COLUMN owing boolean NOT NULL GENERATED ALWAYS AS (charged > settled) STORED;
DROP INDEX channel_owing;
DROP INDEX channel_owing_merchant;
CREATE INDEX channel_owing ON channel (grant_id) WHERE owing;
-- What is owed to a merchant is looked at all the time.
CREATE INDEX channel_owing_merchant ON channel (merchant_id) WHERE owing;
-- Room on each page for the next version of its rows; what is left of old ones is swept before it slows down who reads all.
ALTER TABLE channel SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);
