-- Where a call came from, so that the sentinel can tell a new host: a keyed hash of the client's address, never the
-- address. NULL: not known.

ALTER TABLE charge ADD COLUMN client text CHECK (client ~ '^[0-9a-f]{16}$');
