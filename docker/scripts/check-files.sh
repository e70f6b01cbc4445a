#!/usr/bin/env bash
# Checks the compose files, links and copies without an engine: each stack is valid for the installed Compose (1.29 and
# its successor, if both are installed), has the services that docker/README.md names, and publishes only on loopback.
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$ROOT"
# shellcheck source=docker/scripts/checks.sh
. docker/scripts/checks.sh

WORK=$(mktemp -d "${TMPDIR:-/tmp}/tasker-files.XXXXXX")
trap 'rm -rf --one-file-system "$WORK"' EXIT
# the templates, with a value for each setting that has to be set
sed 's/^\([A-Z_]*\)=$/\1=set/' .env.prod.template docker/.env.prod.template >"$WORK/env"
echo SYSTEM_DEPLOYMENT_PATH=/data >>"$WORK/env"

COMPOSE=()
! docker compose version >/dev/null 2>&1 || COMPOSE+=("docker compose")
! command -v docker-compose >/dev/null || COMPOSE+=(docker-compose)
[ "${#COMPOSE[@]}" -gt 0 ] || fail "neither docker compose nor docker-compose is installed"

# stack SERVICES FILE...: the files are valid together and define exactly these services
stack() {
  local compose command services file files=() wanted=$1; shift
  for file in "$@"; do files+=(-f "$file"); done
  for compose in "${COMPOSE[@]}"; do
    read -ra command <<<"$compose"
    command+=("${files[@]}" --env-file "$WORK/env" --profile monitoring)
    "${command[@]}" config >/dev/null 2>"$WORK/error" || { cat "$WORK/error" >&2; fail "$compose rejects $*"; }
    services=$("${command[@]}" config --services 2>/dev/null | sort | paste -sd' ')
    [ "$services" = "$wanted" ] || fail "$* has the services $services, not $wanted"
  done
  ok "$*: valid, services $wanted"
}

check_published() {
  local beyond
  # shellcheck disable=SC2016
  beyond=$(grep -nE '^ +(ports: \[|- )"[^"]*:[0-9]+"' docker-compose*.y*ml docker/*.yml | grep -v '"\(\${[A-Z_]*:-\)\?127\.0\.0\.1:') || true
  [ -z "$beyond" ] || fail "published beyond this machine: $beyond"
  ok "every port is published on 127.0.0.1"
}

check_links() {
  local link
  [ Dockerfile -ef docker/api/Dockerfile ] || fail "Dockerfile is not a link to docker/api/Dockerfile"
  [ docker-compose.yml -ef docker-compose-dev.yaml ] || fail "docker-compose.yml is not docker-compose-dev.yaml"
  for link in docker-compose.yml Dockerfile configs/* docker/*.yml docker/build/*; do
    [ -e "$link" ] || fail "$link is a link to a missing file"
  done
  docker/build/update.sh --check
  ok "the links have targets, and docker/build has the current Dockerfiles"
}

DEV='grafana postgres prometheus redis server task-worker-default task-worker-high uvicorn worker'
PROD='grafana postgres prometheus redis server task-worker-default task-worker-high'
DOCUMENTED='orchestration postgres redis worker'
stack "$DEV" docker-compose.yml
stack "$DEV" docker-compose-dev.yaml
stack "$PROD" docker-compose-prod.yaml
stack "$PROD" docker-compose-prod.yaml docker-compose-paths.yaml
stack "${PROD/grafana/grafana migration}" docker-compose-prod.yaml docker-compose-migrate.yaml
stack 'grafana orchestration orchestrator postgres prometheus redis worker' docker-compose.distributed.yml
stack "$DOCUMENTED" docker/docker-compose.test.yml
stack "$DOCUMENTED" docker/docker-compose.test-local.yml
stack "$DOCUMENTED" docker/docker-compose.prod.yml
check_published
check_links
say "all $CHECKS checks of the compose files passed"
