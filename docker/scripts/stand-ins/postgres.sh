#!/bin/bash
# Implements the part of the official image's entry point that the compose files use: on the first start,
# creates a cluster for POSTGRES_USER with POSTGRES_PASSWORD or POSTGRES_PASSWORD_FILE, and POSTGRES_DB. As
# root, it switches to the user postgres first.
set -euo pipefail

if [ "$(id -u)" = 0 ]; then
  chown postgres: "$PGDATA" /var/run/postgresql
  exec setpriv --reuid=postgres --regid=postgres --init-groups --inh-caps=-all "$0" "$@"
fi
if [ "${1:-}" != postgres ] || [ -s "$PGDATA/PG_VERSION" ]; then exec "$@"; fi

user=${POSTGRES_USER:-postgres}
password=${POSTGRES_PASSWORD:-}
[ -z "${POSTGRES_PASSWORD_FILE:-}" ] || password=$(<"$POSTGRES_PASSWORD_FILE")
[ -n "$password" ] || { echo "POSTGRES_PASSWORD is not set" >&2; exit 1; }
chmod 700 "$PGDATA" 2>/dev/null || true
# shellcheck disable=SC2086
initdb -D "$PGDATA" -U "$user" --pwfile=<(printf '%s\n' "$password") --auth-local=trust --auth-host=scram-sha-256 \
  -E UTF8 --locale=C.UTF-8 ${POSTGRES_INITDB_ARGS:-}
pg_ctl -D "$PGDATA" -o "-c listen_addresses=''" -w start
[ "${POSTGRES_DB:-$user}" = postgres ] ||
  psql -v ON_ERROR_STOP=1 -v db="${POSTGRES_DB:-$user}" -U "$user" -d postgres <<<'CREATE DATABASE :"db";'
pg_ctl -D "$PGDATA" -m fast -w stop
printf '%s\n' "listen_addresses = '*'" >>"$PGDATA/postgresql.conf"
printf 'host all all all scram-sha-256\n' >>"$PGDATA/pg_hba.conf"
exec "$@"
