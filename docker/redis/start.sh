#!/bin/sh
# Starts Redis with its settings as arguments and the password from REDIS_PASSWORD_FILE. The password is passed on
# standard input, so it does not appear in the arguments or the environment of any process.
set -eu
fail() { echo "REDIS_PASSWORD_FILE: $REDIS_PASSWORD_FILE $1" >&2; exit 78; }

password=$(cat "$REDIS_PASSWORD_FILE") || fail "cannot be read"
[ -n "$password" ] || fail "is empty"
password=$(printf '%s' "$password" | sed 's/[\\"]/\\&/g')
exec redis-server - --dir /data "$@" <<END
requirepass "$password"
END
