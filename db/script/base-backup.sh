#!/bin/bash
# base-backup.sh FOLDER ARCHIVE: copies the whole running cluster to FOLDER/TIME, from where the write-ahead log in
# ARCHIVE goes on. Keeps the newest KEEP copies (3), and of the archive what the oldest of them needs.
#
# As a login with REPLICATION. Where and who: PGHOST, PGPORT, PGUSER, and PGPASSWORD or PGPASSWORD_FILE.
set -euo pipefail
umask 077
folder=${1:?Say where to: base-backup.sh FOLDER ARCHIVE}
archive=${2:?Say where the archive is: base-backup.sh FOLDER ARCHIVE}
keep=${KEEP:-3}
if [ -n "${PGPASSWORD_FILE:-}" ]; then PGPASSWORD=$(cat "$PGPASSWORD_FILE"); export PGPASSWORD; fi

mkdir -p "$folder"
copy=$folder/$(date -u +%Y%m%dT%H%M%S.%3NZ)
trap 'rm -rf "$copy.part"' EXIT
pg_basebackup --pgdata="$copy.part" --format=plain --wal-method=stream --checkpoint=fast
pg_verifybackup --quiet "$copy.part"
mv "$copy.part" "$copy"

copies() { find "$folder" -mindepth 1 -maxdepth 1 -type d ! -name '*.part' | sort; }
copies | sort -r | tail -n "+$((keep + 1))" | xargs -r rm -rf --
# The first segment that the oldest copy needs is named in its label: START WAL LOCATION: 0/2000028 (file 0000...2)
oldest=$(copies | head -n 1)
first=$(sed -n 's/^START WAL LOCATION: .* (file \([0-9A-F]\{24\}\))$/\1/p' "$oldest/backup_label")
pg_archivecleanup "$archive" "$first"
echo "$copy"
