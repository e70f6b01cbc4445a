#!/bin/sh
# make-secrets.sh [FOLDER]: writes random secrets for docker-compose-prod.yaml, one file each (default folder:
# ./secrets). Existing files are kept.
set -eu
folder=${1:-secrets}
umask 077
mkdir -p "$folder"
for name in postgres_password redis_password execution_backend_api_password token_secret grafana_admin_password; do
  [ ! -e "$folder/$name" ] || continue
  head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n' >"$folder/$name.new"
  # The folder is private (umask 077); the file must be readable for the user in the container.
  chmod 444 "$folder/$name.new"
  mv "$folder/$name.new" "$folder/$name"
  echo "$folder/$name"
done
