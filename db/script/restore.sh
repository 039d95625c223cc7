#!/bin/bash
# restore.sh FILE: puts a dump of dump.sh into an empty database, in one transaction: all of it or nothing.
#
# As the login that the services have, which owns the database and may create roles. Where and who: PGHOST, PGPORT,
# PGUSER, PGDATABASE, and PGPASSWORD or PGPASSWORD_FILE. No service may run on that database meanwhile.
set -euo pipefail
file=${1:?Say from what: restore.sh FILE}
if [ -n "${PGPASSWORD_FILE:-}" ]; then PGPASSWORD=$(cat "$PGPASSWORD_FILE"); export PGPASSWORD; fi

sql() { psql --no-psqlrc --quiet --tuples-only --no-align --set=ON_ERROR_STOP=1 "$@"; }

tables=$(sql --command="SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
if [ "$tables" -ne 0 ]; then
  echo "The database ${PGDATABASE:-} has $tables tables. Restore into an empty one: createdb, then set PGDATABASE." >&2
  exit 1
fi

# Roles belong to the cluster and are in no dump: the two that queries run as, as the first migration makes them.
sql <<'SQL'
DO $$
DECLARE
  wanted text;
BEGIN
  FOREACH wanted IN ARRAY ARRAY['stream_service', 'stream_tenant'] LOOP
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
      EXECUTE format('CREATE ROLE %I NOLOGIN NOBYPASSRLS', wanted);
    END IF;
    IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
      EXECUTE format('GRANT %I TO CURRENT_USER', wanted);
    END IF;
  END LOOP;
END
$$;
SQL
pg_restore --no-owner --single-transaction --exit-on-error --dbname="${PGDATABASE:?Say into which database}" "$file"
sql --command='ANALYZE'
echo "$(sql --command='SELECT count(*) FROM charge') charges up to $(sql --command='SELECT max(charged_at) FROM charge')"
