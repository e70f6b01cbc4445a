#!/bin/sh
# Starts Redis with its settings as arguments and its password from REDIS_PASSWORD_FILE, which so appears neither among the
# arguments nor in the environment of any process.
set -eu
fail() { echo "REDIS_PASSWORD_FILE: $REDIS_PASSWORD_FILE $1" >&2; exit 78; }

password=$(cat "$REDIS_PASSWORD_FILE") || fail "cannot be read"
[ -n "$password" ] || fail "is empty"
password=$(printf '%s' "$password" | sed 's/[\\"]/\\&/g')
exec redis-server - --dir /data "$@" <<END
requirepass "$password"
END
