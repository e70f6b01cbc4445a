#!/bin/sh
# make-secrets.sh [FOLDER]: random secrets, each in a file of its own, for docker-compose-prod.yaml; ./secrets when no folder is
# named. What is there already stays as it is.
set -eu
folder=${1:-secrets}
umask 077
mkdir -p "$folder"
for name in postgres_password redis_password execution_backend_api_password token_secret grafana_admin_password; do
  [ ! -e "$folder/$name" ] || continue
  head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n' >"$folder/$name.new"
  # The folder keeps others on this machine out; in a container, the file must be readable for its user.
  chmod 444 "$folder/$name.new"
  mv "$folder/$name.new" "$folder/$name"
  echo "$folder/$name"
done
