#!/usr/bin/env bash
# Runs the commands of "Names of the documents" in docker/README.md on a real Docker engine, in the stacks for
# development, for tests, for production with docker/docker-compose.prod.yml, and in the distributed one. They use their
# documented ports, and a project of their own, which is removed.
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$ROOT"
# shellcheck source=docker/scripts/checks.sh
. docker/scripts/checks.sh

usage() {
  cat <<'END'
usage: docker/scripts/validate-stacks.sh [--skip-build] [--network NAME] [STACK...]

  --skip-build    use the existing images
  --network NAME  network for builds; `host` if containers have no internet access

STACK: development, test, production, distributed; default: all. The variables of images are those of validate.sh.
END
}

BUILD=yes NETWORK=() STACKS=()
while [ $# -gt 0 ]; do
  case $1 in
    --skip-build) BUILD='' ;;
    --network) NETWORK=(--network "${2:?a name is missing}"); shift ;;
    development | test | production | distributed) STACKS+=("$1") ;;
    -h | --help) usage; exit ;;
    *) usage >&2; exit 2 ;;
  esac
  shift
done
[ "${#STACKS[@]}" -gt 0 ] || STACKS=(development test production distributed)

if docker compose version >/dev/null 2>&1; then DC=(docker compose); else DC=(docker-compose); fi
export DOCKER_BUILDKIT=1 no_proxy=127.0.0.1
PROJECT=taskerstacks$$ FOLDER=$ROOT FILES=()
WORK=$(mktemp -d "${TMPDIR:-/tmp}/tasker-stacks.XXXXXX")
compose() { (cd "$FOLDER" && "${DC[@]}" -p "$PROJECT" "${FILES[@]}" "$@"); }
down() { compose down -v --remove-orphans --timeout 10 >/dev/null 2>&1 || true; }

end() {
  local code=$?
  if [ "$code" != 0 ]; then
    compose ps || true
    compose logs --tail 15 2>/dev/null || true
  fi
  down
  rm -rf --one-file-system "$WORK"
  exit "$code"
}
trap end EXIT
trap 'exit 130' INT; trap 'exit 143' TERM

# until_true SECONDS TEXT COMMAND...
until_true() {
  local deadline=$((SECONDS + $1)) text=$2; shift 2
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$deadline" ] || fail "timed out: $text"
    sleep 0.5
  done
  ok "$text"
}

build() { # TAG DOCKERFILE [OPTION...]
  local tag=$1 file=$2; shift 2
  [ -n "$BUILD" ] || return 0
  say "building $tag"
  docker build "${NETWORK[@]}" -f "$file" -t "$tag" "$@" . >"$WORK/log" 2>&1 || { tail -n 40 "$WORK/log" >&2; fail "$tag does not build"; }
}

build_postgres() {
  [ -n "$BUILD" ] || return 0
  docker build -q -t tasker-postgres docker/db --build-arg "POSTGRES_IMAGE=${POSTGRES_IMAGE:-postgres:15-bookworm}" >/dev/null
}

start() { compose up -d --no-build "$@" >"$WORK/up" 2>&1 || { cat "$WORK/up" >&2; fail "the stack does not start"; }; }
count() { [ "$(compose ps -q "$1" | wc -l)" = "$2" ]; }
answers() { curl -f -sS --max-time 5 "$1"; }

registered() { [[ $(curl -fsS --max-time 5 "$@" http://127.0.0.1:8080/tasks/types) == *'"name":"echo"'* ]]; }

# submitted [CURL-OPTION...]: submits a task at port 8080, and waits until it has completed. Before a worker has
# registered the type, which takes longer than until its /health answers, the server rejects the task.
submitted() {
  local id
  until_true 60 "a worker has registered its task types" registered "$@"
  id=$(curl -fsS --max-time 20 "$@" http://127.0.0.1:8080/tasks/submit -H 'content-type: application/json' \
    -d '{"task_name":"echo","parameters":{"n":1}}' | sed 's/.*"task_id":"\([^"]*\)".*/\1/')
  [[ $(curl -fsS --max-time 40 "$@" "http://127.0.0.1:8080/tasks/$id?wait=30") == *'"status":"completed"'* ]] ||
    fail "task $id did not complete"
  ok "curl ${1:-without credentials}: POST /tasks/submit, and the task completed"
}

# workflow: starts one of the template that the workers publish, at both ports, and waits until it is complete
workflow() {
  local port
  for port in 8000 8080; do
    [[ $(curl -fsS --max-time 40 "http://127.0.0.1:$port/v1/tasks?wait=30" -H 'content-type: application/json' \
      -d '{"template_name":"linear_workflow","namespace":"example","configuration":{"input":"test"}}') == *'"status":"complete"'* ]] ||
      fail "the workflow started at port $port did not complete"
  done
  ok "POST /v1/tasks at 8000 and 8080: linear_workflow is complete"
}

# database SERVICE: psql and sqlx in the server's container
database() {
  # shellcheck disable=SC2016
  compose exec -T "$1" sh -c 'psql $DATABASE_URL -c "SELECT 1;"' | grep '(1 row)' >/dev/null || fail "psql \$DATABASE_URL in $1"
  compose exec -T "$1" psql -c 'SELECT 1;' | grep '(1 row)' >/dev/null || fail "psql in $1"
  compose exec -T "$1" sqlx migrate info | grep applied >/dev/null || fail "sqlx migrate info in $1"
  compose exec -T "$1" sqlx migrate run >/dev/null 2>&1 || fail "sqlx migrate run in $1"
  ok "exec $1: psql, sqlx migrate info, sqlx migrate run"
}

development() {
  build tasker-dev docker/api/Dockerfile --target dev
  start postgres
  until_true 60 "up -d postgres" compose exec -T postgres pg_isready -U tasker
  start
  until_true 1800 "up -d: compiled, curl -f :8080/health" answers http://127.0.0.1:8080/health
  until_true 300 "curl -f :8081/health and :8082/health" eval 'answers http://127.0.0.1:8081/health && answers http://127.0.0.1:8082/health'
  until_true 10 "curl -f :9090/health and :9090/metrics" eval 'answers http://127.0.0.1:9090/health && answers http://127.0.0.1:9090/metrics'
  submitted
  workflow
  database server
  database uvicorn
  compose exec -T uvicorn bash -c 'tasker worker status' | grep task-worker-high >/dev/null || fail "exec uvicorn bash"
  compose exec -T task-worker-high bash -c 'tasker-worker --help' >/dev/null || fail "exec task-worker-high bash"
  ok "exec uvicorn bash, exec task-worker-high bash"
  [ "$(compose exec -T redis redis-cli llen rq:queue:high_priority | tr -d '\r')" = 0 ] || fail "redis-cli llen"
  count worker 0 || fail "there are workers of the service worker before --scale"
  start --scale worker=3
  until_true 30 "up -d --scale worker=3" count worker 3
}

documented() { # CURL-OPTION...: what test and production have in common
  until_true 180 "curl -f :8080/health" answers http://127.0.0.1:8080/health
  until_true 60 "two workers" count worker 2
  submitted "$@"
  database orchestration
  compose logs orchestration | grep '\[ORCHESTRATION\]' >/dev/null || fail "logs orchestration lack their tag"
  compose logs worker | grep '\[WORKER\]' >/dev/null || fail "logs worker lack their tag"
  start --scale worker=3
  until_true 60 "--scale worker=3" count worker 3
  start --scale worker=1
  until_true 60 "--scale worker=1" count worker 1
}

test_stack() {
  FOLDER=$ROOT/docker FILES=(-f docker-compose.test.yml)
  build_postgres
  build tasker-server:test docker/build/orchestration.test.Dockerfile --target tools --build-arg PROFILE=dev
  build task-worker:test docker/build/rust-worker.test.Dockerfile --build-arg PROFILE=dev
  start
  documented
}

production() {
  FOLDER=$ROOT/docker FILES=(-f docker-compose.prod.yml --env-file "$WORK/env")
  build_release
  while read -r line; do
    [[ $line != *= ]] || line+=$(head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n')
    printf '%s\n' "$line"
  done <docker/.env.prod.template >"$WORK/env"
  start
  documented -u "tasker:$(sed -n 's/^EXECUTION_BACKEND_API_PASSWORD=//p' "$WORK/env")"
  [ -z "$(docker port "$(compose ps -q worker | head -1)")" ] || fail "production publishes a worker"
}

build_release() {
  build_postgres
  build tasker-server:tools docker/build/orchestration.prod.Dockerfile --target tools
  build task-worker:latest docker/build/rust-worker.prod.Dockerfile
}

distributed() {
  local services=() port
  FILES=(-f docker-compose.distributed.yml)
  build_release
  # without those whose image is not here
  for port in orchestration orchestrator worker prometheus grafana; do
    case $port in prometheus | grafana) docker image inspect "$(image_of "$port")" >/dev/null 2>&1 || { say "skipped: no image of $port"; continue; } ;; esac
    services+=("$port")
  done
  start "${services[@]}"
  until_true 180 "curl -f :8080/health" answers http://127.0.0.1:8080/health
  for port in 9091 9092 9093; do until_true 60 "curl -f :$port/health" answers "http://127.0.0.1:$port/health"; done
  submitted
  workflow
  database orchestration
  start --scale orchestrator=5 "${services[@]}"
  until_true 60 "--scale orchestrator=5" count orchestrator 5
  [[ " ${services[*]} " != *' prometheus '* ]] || until_true 90 "Prometheus at 9090 scrapes six servers and three workers" scraped
  [[ " ${services[*]} " != *' grafana '* ]] || until_true 90 "Grafana at 3000, admin, admin" answers http://admin:admin@127.0.0.1:3000/api/datasources/uid/prometheus
}

image_of() { compose config | sed -n "/^  $1:/,/^  [a-z]/s/^    image: //p"; }

scraped() {
  local up
  up=$(curl -fsS 'http://127.0.0.1:9090/api/v1/query?query=count(up==1)by(job)')
  [[ $up == *'"job":"tasker-server"'*',"6"'* && $up == *'"job":"task-worker-default"'*',"3"'* ]]
}

for stack in "${STACKS[@]}"; do
  say "$stack, with ${DC[*]}"
  FOLDER=$ROOT FILES=()
  case $stack in test) test_stack ;; *) "$stack" ;; esac
  down
done
say "all $CHECKS checks of the stacks passed"
