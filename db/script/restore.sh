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

# Roles belong to the cluster and are in no dump. Those that it gives rights to, as the migrations make them:
roles=$(pg_restore --schema-only --file=- "$file" | sed -nE 's/^(GRANT|CREATE POLICY) .* TO (stream_[a-z_]+)[ ;].*$/\2/p' | sort -u)
for role in $roles; do
  sql --set=wanted="$role" <<'SQL'
SELECT format('CREATE ROLE %I NOLOGIN NOBYPASSRLS', :'wanted')
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'wanted') \gexec
SELECT format('GRANT %I TO CURRENT_USER', :'wanted')
WHERE NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
  AND NOT (SELECT rolcanlogin FROM pg_roles WHERE rolname = :'wanted') \gexec
SQL
done
pg_restore --no-owner --single-transaction --exit-on-error --dbname="${PGDATABASE:?Say into which database}" "$file"
sql --command='ANALYZE'
charges=$(sql --command='SELECT count(*) FROM charge')
newest=$(sql --command="SELECT coalesce(max(occurred_at)::text, '-') FROM charge")
echo "$charges charges, the newest of $newest"
