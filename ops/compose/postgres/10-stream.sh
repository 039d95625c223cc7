#!/bin/bash
# Run once by the postgres image, on an empty cluster: the database of the services, who they log in as, and who takes
# backups. Reads the passwords from /run/secrets, or where SECRETS says.
set -euo pipefail
secrets=${SECRETS:-/run/secrets}

# stream owns the database and makes the roles that its queries run as (db/README.md); it is no superuser. Of those roles
# it has the rights of stream_service alone: with those of all, the policies of each would bind it at once.
# stream_backup reads every row, past row-level security, and copies the cluster; it writes nothing.
psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --username="${POSTGRES_USER:-postgres}" --dbname=postgres \
  --set=password="$(cat "$secrets/database_password")" --set=backup_password="$(cat "$secrets/backup_password")" <<'SQL'
CREATE ROLE stream_service NOLOGIN NOBYPASSRLS;
CREATE ROLE stream LOGIN CREATEROLE NOINHERIT PASSWORD :'password';
GRANT stream_service TO stream WITH ADMIN TRUE, INHERIT TRUE, SET TRUE;
CREATE DATABASE stream OWNER stream TEMPLATE template0 ENCODING 'UTF8';
REVOKE ALL ON DATABASE stream FROM PUBLIC;
CREATE ROLE stream_backup LOGIN BYPASSRLS REPLICATION PASSWORD :'backup_password';
GRANT pg_read_all_data TO stream_backup;
GRANT CONNECT ON DATABASE stream TO stream_backup;
SQL

# "all" does not mean replication, which a copy of the cluster is.
echo 'host replication stream_backup all scram-sha-256' >> "$PGDATA/pg_hba.conf"
