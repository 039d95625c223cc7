#!/bin/bash
# recover.sh COPY DATA ARCHIVE [TIME]: makes the empty folder DATA a cluster that begins with a copy of base-backup.sh
# and replays the write-ahead log in ARCHIVE, to its end or to TIME (2026-01-31 12:00:00+00). Start PostgreSQL on DATA
# then: it recovers first, and goes on by itself, on a new timeline.
set -euo pipefail
umask 077
copy=${1:?Call it so: recover.sh COPY DATA ARCHIVE [TIME]} data=${2:?} archive=${3:?} time=${4:-}

if [ -n "$(ls -A "$data" 2> /dev/null)" ]; then
  echo "$data is not empty. Move what is in it away first; it may be all there is." >&2
  exit 1
fi
pg_verifybackup --quiet "$copy"
mkdir -p "$data"
cp -a "$copy/." "$data/"
# A segment that is not there ends the recovery, which is what it should do at the archive's end.
{
  echo "restore_command = 'cp \"$archive/%f\" \"%p\"'"
  echo "recovery_target_action = 'promote'"
  if [ -n "$time" ]; then echo "recovery_target_time = '$time'"; fi
} >> "$data/postgresql.auto.conf"
touch "$data/recovery.signal"
