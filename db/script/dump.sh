#!/bin/bash
# dump.sh FOLDER: writes FOLDER/stream-TIME.dump, one consistent copy of the database, while the services go on.
#
# As a login that reads past row-level security (BYPASSRLS, or a superuser): another would be refused. Where and who:
# PGHOST, PGPORT, PGUSER, PGDATABASE, and PGPASSWORD or PGPASSWORD_FILE. Keeps the newest KEEP dumps (14).
# Needs the client programs of PostgreSQL of the server's major version or newer.
set -euo pipefail
umask 077
folder=${1:?Say where to: dump.sh FOLDER}
keep=${KEEP:-14}
if [ -n "${PGPASSWORD_FILE:-}" ]; then PGPASSWORD=$(cat "$PGPASSWORD_FILE"); export PGPASSWORD; fi

mkdir -p "$folder"
file=$folder/stream-$(date -u +%Y%m%dT%H%M%S.%3NZ).dump
trap 'rm -f "$file.part"' EXIT
# A service that migrates meanwhile waits for a table at most this long, and the dump for it.
pg_dump --format=custom --compress=6 --lock-wait-timeout=60s --file="$file.part"
# A file that cannot be read is no backup.
pg_restore --list "$file.part" > /dev/null
sync "$file.part"
mv "$file.part" "$file"

# Names are times, so their order is that of age.
find "$folder" -maxdepth 1 -name 'stream-*.dump' | sort -r | tail -n "+$((keep + 1))" | xargs -r rm --
echo "$file"
