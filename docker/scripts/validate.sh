#!/usr/bin/env bash
# Validates the images (with validate-optimized-builds.sh) and docker-compose-prod.yaml on a real Docker
# engine: builds, starts, submits, scales, kills and stops, and checks after each step that no task was lost.
# It uses its own project, secrets, volumes and port, and removes all of them.
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$ROOT"
# shellcheck source=docker/scripts/checks.sh
. docker/scripts/checks.sh

usage() {
  cat <<'END'
usage: docker/scripts/validate.sh [--skip-build] [--network NAME] [--keep]

  --skip-build    use the existing images tasker-server:latest, tasker-server:tools and task-worker:latest
  --network NAME  network for builds; `host` if containers have no internet access
  --keep          leave the stack running at the end, and print how to reach it

POSTGRES_IMAGE, REDIS_IMAGE, PROMETHEUS_IMAGE and GRAFANA_IMAGE select other images. If images cannot be pulled, run
docker/scripts/base-images.sh first.
END
}

BUILD=yes KEEP='' NETWORK=()
while [ $# -gt 0 ]; do
  case $1 in
    --skip-build) BUILD='' ;;
    --network) NETWORK=(--network "$2"); shift ;;
    --keep) KEEP=yes ;;
    -h | --help) usage; exit ;;
    *) usage >&2; exit 2 ;;
  esac
  shift
done

# until_true SECONDS TEXT COMMAND...: retries the command until it succeeds; fails after SECONDS.
until_true() {
  local deadline=$((SECONDS + $1)) text=$2; shift 2
  until "$@"; do
    [ "$SECONDS" -lt "$deadline" ] || fail "timed out: $text"
    sleep 0.5
  done
  ok "$text"
}

# ---- the stack ------------------------------------------------------------------------------------------------------

if docker compose version >/dev/null 2>&1; then DC=(docker compose); else DC=(docker-compose); fi
PROJECT=taskervalidate$$
WORK=$(mktemp -d "${TMPDIR:-/tmp}/tasker-validate.XXXXXX")
compose() { "${DC[@]}" -p "$PROJECT" -f docker-compose-prod.yaml --env-file "$WORK/env" "$@"; }
containers() { compose ps -q "$1"; }
first() { containers "$1" | head -1; }

end() {
  local code=$?
  touch "$WORK/stop"
  if [ "$code" != 0 ]; then
    compose ps -a 2>/dev/null || compose ps || true
    compose logs --tail 15 2>/dev/null || true
  fi
  if [ -n "$KEEP" ] && [ "$code" = 0 ]; then
    say "left running: ${DC[*]} -p $PROJECT -f docker-compose-prod.yaml --env-file $WORK/env ps (then: down -v)"
    exit
  fi
  compose -f docker-compose-migrate.yaml --profile monitoring down -v --remove-orphans --timeout 10 >/dev/null 2>&1 || true
  rm -rf --one-file-system "$WORK"
  exit "$code"
}
trap end EXIT
trap 'exit 130' INT; trap 'exit 143' TERM

prepare() {
  local port=$((20000 + RANDOM % 10000))
  while (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do port=$((20000 + RANDOM % 10000)); done
  docker/scripts/make-secrets.sh "$WORK/secrets" >/dev/null
  sed 's/^#\(SECRETS_DIR\|API_PUBLISH\)=.*//' .env.prod.template >"$WORK/env"
  cat >>"$WORK/env" <<END
SECRETS_DIR=$WORK/secrets
API_PUBLISH=127.0.0.1:$port
API_SECOND_PUBLISH=127.0.0.1:$((port + 1))
PROMETHEUS_PUBLISH=127.0.0.1:$((port + 2))
GRAFANA_PUBLISH=127.0.0.1:$((port + 3))
SHUTDOWN_TIMEOUT=5s
TASK_TEMPLATES_DIR=$ROOT/examples/order-fulfillment/templates
END
  API=http://127.0.0.1:$port SECOND=http://127.0.0.1:$((port + 1))
  USER_AND_PASSWORD=tasker:$(cat "$WORK/secrets/execution_backend_api_password")
  export no_proxy=127.0.0.1
}

api() { curl -fsS --max-time 20 -u "$USER_AND_PASSWORD" -H 'content-type: application/json' "$@"; }
sql() { docker exec "$(first postgres)" psql -U tasker -d tasker_production -qAtc "$1"; }

sql_is() { [ "$(sql "$2" 2>/dev/null)" = "$1" ]; }
state_is() { [ "$(docker inspect -f "$3" "$2")" = "$1" ]; }
beyond() { [ "$(cat "$WORK/$1")" -gt "$2" ]; }

all_healthy() { # all containers run, and none is unhealthy or still starting
  local id health
  for id in $(compose ps -q); do
    health=$(docker inspect -f '{{.State.Status}} {{if .State.Health}}{{.State.Health.Status}}{{else}}healthy{{end}}' "$id")
    [ "$health" = "running healthy" ] || return 1
  done
}

count() { [ "$(containers "$1" | wc -l)" = "$2" ]; }
answers() { api -o /dev/null "$API/health/ready" 2>/dev/null; }

check_refusals() {
  local out name
  out=$(docker run --rm -e TASKER_ENV=production -e DATABASE_URL=postgres://a@b/c tasker-server:latest 2>&1) && fail "the server starts without secrets"
  for name in EXECUTION_BACKEND_API_USER EXECUTION_BACKEND_API_PASSWORD TOKEN_SECRET; do
    [[ $out == *"$name"* ]] || fail "without secrets: $name is not named: $out"
  done
  ok "production does not start without secrets and names them"
  out=$(docker run --rm -e TASKER_ENV=production -e DATABASE_URL=postgres://a@b/c -e EXECUTION_BACKEND_API_USER=tasker \
    -e EXECUTION_BACKEND_API_PASSWORD=tasker-development -e TOKEN_SECRET=a-sample-for-development-that-production-refuses \
    tasker-server:latest 2>&1) && fail "production starts with the sample secrets of development"
  [[ $out == *EXECUTION_BACKEND_API_PASSWORD* && $out == *TOKEN_SECRET* ]] || fail "samples: not named: $out"
  ok "production rejects the sample secrets of development and names them"
  mv "$WORK/secrets/token_secret" "$WORK/"
  out=$(compose up -d --no-build 2>&1) && fail "the stack starts without secrets/token_secret"
  [[ $out == *token_secret* ]] || fail "the missing secret is not named: $out"
  mv "$WORK/token_secret" "$WORK/secrets/"
  compose down -v >/dev/null 2>&1
  ok "a missing secret file stops the start and is named"
}

# Prints the CPU limit of a container in thousandths of a CPU (cgroup v2 or v1).
cpu_millis() {
  local limit=() files='/sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu/cpu.cfs_period_us'
  mapfile -t limit < <(docker exec "$1" sh -c "cat /sys/fs/cgroup/cpu.max 2>/dev/null || cat $files" | tr ' ' '\n')
  echo $((limit[0] * 1000 / limit[1]))
}

check_container() { # SERVICE PROGRAM MILLIS
  local id program=$2; id=$(first "$1")
  [ "$(docker exec "$id" cat /proc/1/comm)" = "$program" ] || fail "$1: process 1 is $(docker exec "$id" cat /proc/1/comm)"
  [ "$(docker exec "$id" sh -c 'sed -n "s/^Uid:\t\([0-9]*\).*/\1/p" /proc/1/status')" != 0 ] || fail "$1 runs as root"
  grep -q 'CapEff:.0*$' <(docker exec "$id" cat /proc/1/status) || fail "$1 has capabilities"
  [ "$(docker inspect -f '{{.HostConfig.ReadonlyRootfs}}' "$id")" = true ] || fail "$1 can write its file system"
  docker exec "$id" sh -c ': >/x' 2>/dev/null && fail "$1 wrote a file"
  [ "$(docker inspect -f '{{.HostConfig.Memory}}' "$id")" != 0 ] || fail "$1 has no limit of memory"
  [ "$(cpu_millis "$id")" = "$3" ] || fail "$1 is limited to $(cpu_millis "$id") thousandths of a CPU, not $3"
  ok "$1: $program is process 1, not root, without capabilities, on a read-only file system, limited to $(($3 / 1000)) CPUs"
}

check_commands() {
  local id
  compose exec -T server tasker-server migrate status | grep applied >/dev/null || fail "migrate status"
  compose exec -T server tasker worker status | grep task-worker-high >/dev/null || fail "worker status"
  compose exec -T server tasker template list | grep order_fulfillment >/dev/null || fail "the workers publish no templates"
  [ "$(compose exec -T redis redis-cli llen rq:queue:high_priority | tr -d '\r')" = 0 ] || fail "redis-cli llen"
  compose exec -T postgres psql -U tasker -d tasker_production -c 'SELECT 1;' >/dev/null || fail "psql"
  compose logs server | grep ORCHESTRATION >/dev/null || fail "no line of the server has its tag"
  compose logs task-worker-high task-worker-default | grep WORKER >/dev/null || fail "no line of a worker has its tag"
  ok "migrate status, worker status, template list, redis-cli llen, psql and the tags in the logs"
  id=$(first redis)
  [[ $(docker exec "$id" redis-cli config get maxmemory-policy) == *noeviction ]] || fail "Redis evicts"
  [[ $(docker exec "$id" redis-cli config get appendonly) == *yes ]] || fail "Redis does not persist"
  ! docker exec "$id" sh -c 'tr "\0" "\n" </proc/1/cmdline; tr "\0" "\n" </proc/1/environ' | grep -f "$WORK/secrets/redis_password" >/dev/null ||
    fail "the password of Redis is among its arguments"
  [ "$(docker port "$(first server)" | grep -c ' 127\.0\.0\.1:')" = 2 ] || fail "the server does not publish two ports"
  curl -fsS -o /dev/null "$SECOND/health" || fail "the second port of the API does not answer"
  for service in postgres redis task-worker-high task-worker-default; do
    [ -z "$(docker port "$(first $service)")" ] || fail "$service is published"
  done
  ok "only the API is published, at both ports; Redis requires a password, does not evict, and persists"
  ! curl -fsS -o /dev/null "$API/tasks" 2>/dev/null || fail "the API answers without a password"
  ok "the API rejects requests without a password"
}

# With the target `tools`, the server's container has psql, which signs in with the server's password.
check_tools() {
  docker image inspect tasker-server:tools >/dev/null 2>&1 || { say "skipped: no image tasker-server:tools"; return; }
  echo TASKER_SERVER_IMAGE=tasker-server:tools >>"$WORK/env"
  compose up -d --no-build >/dev/null 2>&1
  until_true 120 "healthy with the image tasker-server:tools" all_healthy
  # shellcheck disable=SC2016
  compose exec -T server sh -c 'psql $DATABASE_URL -c "SELECT 1;"' | grep '(1 row)' >/dev/null || fail "psql in the server's container"
  compose exec -T server psql -c 'SELECT 1;' | grep '(1 row)' >/dev/null || fail "psql without a database"
  compose exec -T server sqlx migrate info | grep applied >/dev/null || fail "sqlx migrate info"
  compose exec -T server sqlx migrate run >/dev/null 2>&1 || fail "sqlx migrate run"
  sed -i '/^TASKER_SERVER_IMAGE/d' "$WORK/env"
  compose up -d --no-build >/dev/null 2>&1
  until_true 120 "healthy with the image tasker-server:latest" all_healthy
  ok "psql and sqlx in the server's container sign in with DATABASE_URL and the password's file"
}

check_main_job() {
  local id
  id=$(api "$API/tasks/submit" -d '{"task_name":"example_long_running","parameters":{"duration":2},"priority":10}' |
    sed 's/.*"task_id":"\([^"]*\)".*/\1/')
  [[ $(api "$API/tasks/$id?wait=30") == *'"status":"completed"'* ]] || fail "task $id did not complete"
  ok "a task was submitted with curl -u, and completed"
}

# ---- under load -----------------------------------------------------------------------------------------------------

batch() { # TAG NUMBER: 40 tasks with keys of their own, of which some take a second
  local i comma=''
  printf '{"tasks":['
  for i in {1..40}; do
    printf '%s{"idempotency_key":"%s-%s-%s","tags":["%s"],"priority":%s,' "$comma" "$1" "$2" "$i" "$1" $((i % 8))
    if [ $((i % 10)) = 0 ]; then
      printf '"task_name":"example_long_running","parameters":{"duration":1}}'
    else
      printf '"task_name":"echo","parameters":{"n":%s}}' "$i"
    fi
    comma=,
  done
  printf ']}'
}

# Submits batches until $WORK/stop exists. A rejected batch is retried with the same idempotency keys, so it
# counts once.
keep_submitting() { # TAG
  local number=0
  echo 0 >"$WORK/$1"
  while [ ! -e "$WORK/stop" ]; do
    batch "$1" $number >"$WORK/$1.json"
    until api -o /dev/null "$API/tasks/submit/batch" -d "@$WORK/$1.json" 2>/dev/null; do
      [ -d "$WORK" ] || return 0
      sleep 0.2
    done
    number=$((number + 1))
    echo $((number * 40)) >"$WORK/$1"
    sleep 0.2
  done
}

left() { sql "SELECT count(*) FROM tasks WHERE '$1' = ANY(tags)" 2>/dev/null || echo unknown; }
nothing_left() { [ "$(left "$1")" = 0 ]; }

# kill_under_load SERVICE...: kills one container of each service at the same time. A killed
# task-worker-default is not restarted before all tasks have finished.
kill_under_load() {
  local tag id ids=() service before submitter sent done_ doubled
  tag=$(IFS=-; echo "kill-$*") # its own, since the keys of the tasks begin with it
  rm -f "$WORK/stop"
  keep_submitting "$tag" & submitter=$!
  until_true 60 "under load: tasks are accepted and finish" \
    sql_is t "SELECT count(*) > 20 FROM finished_tasks WHERE '$tag' = ANY(tags)"
  for service in "$@"; do id=$(first "$service"); ids+=("$id"); done
  docker kill "${ids[@]}" >/dev/null
  say "killed: $*"
  before=$(cat "$WORK/$tag")
  sleep 5
  [[ $1 == task-worker-default ]] || docker start "${ids[@]}" >/dev/null
  until_true 120 "submits continue" beyond "$tag" "$before"
  touch "$WORK/stop"
  wait $submitter
  sent=$(cat "$WORK/$tag")
  until_true 180 "all tasks finished" nothing_left "$tag"
  done_=$(sql "SELECT count(*) FROM finished_tasks WHERE status = 'completed' AND '$tag' = ANY(tags)")
  doubled=$(sql "SELECT count(*) - count(DISTINCT idempotency_key) FROM finished_tasks WHERE '$tag' = ANY(tags)")
  [ "$done_ $doubled" = "$sent 0" ] || fail "$sent were accepted, $done_ completed, $doubled twice"
  ok "docker kill of $*: $sent tasks accepted, $done_ completed, none twice"
  docker start "${ids[@]}" >/dev/null
  until_true 120 "healthy again" all_healthy
}

# Docker restarts a container after a crash, but not after docker kill.
check_restart() {
  local id pid; id=$(first task-worker-high)
  pid=$(docker inspect -f '{{.State.Pid}}' "$id")
  if ! kill -KILL "$pid" 2>/dev/null; then say "skipped: no permission to kill a process in a container"; return; fi
  until_true 60 "a crashed worker was restarted" state_is 1 "$id" '{{.RestartCount}}'
  until_true 60 "and is healthy" all_healthy
}

clean_stop() { # SERVICE CONTAINER
  local began=$SECONDS
  docker stop -t 60 "$2" >/dev/null
  [ "$(docker inspect -f '{{.State.ExitCode}}' "$2")" = 0 ] || fail "$1 exited with $(docker inspect -f '{{.State.ExitCode}}' "$2")"
  ok "docker stop of $1: exit code 0, after $((SECONDS - began)) s"
}

check_stops() {
  local ids worker container burnt running="SELECT count(*) FROM tasks WHERE status = 'running' AND 'stop' = ANY(tags)"
  for _ in 1 2 3 4; do
    api -o /dev/null "$API/tasks/submit" -d '{"task_name":"example_long_running","parameters":{"duration":60},"tags":["stop"]}'
  done
  until_true 30 "four long tasks run" sql_is 4 "$running"
  worker=$(sql "SELECT worker_id FROM tasks WHERE 'stop' = ANY(tags) LIMIT 1")
  for container in $(containers task-worker-default); do
    [[ $worker != *"${container:0:12}"* ]] || clean_stop "a worker with running tasks" "$container"
  done
  burnt=$(sql "SELECT coalesce(sum(attempts + crash_count), 0) FROM tasks WHERE 'stop' = ANY(tags)")
  [ "$burnt" = 0 ] || fail "the stop used $burnt attempts"
  [ "$(left stop)" = 4 ] || fail "the stop lost a task"
  ok "its tasks were requeued, and no attempt was used"
  until_true 30 "other workers claimed them" sql_is 4 "$running AND worker_id <> '$worker'"
  ids=$(sql "SELECT id FROM tasks WHERE 'stop' = ANY(tags)")
  for id in $ids; do api -o /dev/null -X POST "$API/tasks/$id/cancel"; done
  until_true 30 "cancelled" nothing_left stop
  clean_stop server "$(first server)"
  clean_stop redis "$(first redis)"
  clean_stop postgres "$(first postgres)"
  compose up -d --no-build >/dev/null 2>&1
  until_true 120 "healthy again" all_healthy
}

check_migration_only() {
  compose -f docker-compose-migrate.yaml up -d --no-build >/dev/null 2>&1
  local id; id=$(compose -f docker-compose-migrate.yaml ps -aq migration 2>/dev/null || compose -f docker-compose-migrate.yaml ps -q migration)
  until_true 60 "the migration exited with 0" state_is "exited 0" "$id" '{{.State.Status}} {{.State.ExitCode}}'
  docker inspect -f '{{json .Config.Env}}' "$(first server)" | grep DEPLOYMENT_MODE=no-migrate >/dev/null || fail "the server migrates too"
  until_true 60 "the server answers, without migrating" answers
}

check_monitoring() {
  local up
  docker image inspect "${PROMETHEUS_IMAGE:-$(compose --profile monitoring config | sed -n 's/.*image: \(.*prometheus.*\)/\1/p')}" >/dev/null 2>&1 ||
    { say "skipped: no image of Prometheus"; return; }
  compose --profile monitoring up -d --no-build prometheus >/dev/null 2>&1
  all_up() {
    up=$(curl -fsS "http://$(sed -n 's/^PROMETHEUS_PUBLISH=//p' "$WORK/env")/api/v1/query?query=up" 2>/dev/null) || return 1
    [[ $up == *task-worker-default* && $up == *task-worker-high* && $up == *tasker-server* && $up != *'"0"'* ]]
  }
  until_true 90 "Prometheus scrapes the server and every worker" all_up
}

# ---- all of it ------------------------------------------------------------------------------------------------------

docker/scripts/check-files.sh
[ -z "$BUILD" ] || docker/scripts/validate-optimized-builds.sh "${NETWORK[@]}"
prepare
check_refusals
say "starting docker-compose-prod.yaml with ${DC[*]}"
compose up -d --no-build >"$WORK/up.log" 2>&1 || { cat "$WORK/up.log" >&2; fail "the stack does not start"; }
until_true 180 "every container is healthy" all_healthy
check_container server tasker-server 4000
check_container task-worker-high tasker-worker 8000
check_container task-worker-default tasker-worker 8000
check_container postgres postgres 2000
check_container redis redis-server 1000
check_commands
check_tools
check_main_job
echo TASK_WORKER_DEFAULT_REPLICAS=4 >>"$WORK/env"
compose up -d --no-build >/dev/null 2>&1
until_true 30 "TASK_WORKER_DEFAULT_REPLICAS=4 gives four" count task-worker-default 4
sed -i '/^TASK_WORKER_DEFAULT_REPLICAS/d' "$WORK/env"
compose up -d --no-build --scale task-worker-default=3 >/dev/null 2>&1
until_true 60 "--scale task-worker-default=3 gives three" count task-worker-default 3
until_true 120 "every container is healthy" all_healthy
kill_under_load task-worker-default
kill_under_load task-worker-high
kill_under_load server
kill_under_load redis
kill_under_load postgres
kill_under_load postgres redis server
check_restart
check_stops
check_migration_only
check_monitoring
say "all $CHECKS checks passed"
