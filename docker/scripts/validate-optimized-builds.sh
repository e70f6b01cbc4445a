#!/usr/bin/env bash
# Builds the images and checks them and the Dockerfiles against docker/OPTIMIZATION-GUIDE.md. The images
# tasker-server:latest, tasker-server:tools and task-worker:latest remain.
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$ROOT"
# shellcheck source=docker/scripts/checks.sh
. docker/scripts/checks.sh

usage() {
  cat <<'END'
usage: docker/scripts/validate-optimized-builds.sh [--network NAME] [--full]

  --network NAME  network for builds; `host` if containers have no internet access
  --full          also validate the running stack: validate.sh --skip-build

CHEF_IMAGE names a prebuilt image with cargo-chef.
END
}

FULL='' NETWORK=()
while [ $# -gt 0 ]; do
  case $1 in
    --network) NETWORK=(--network "${2:?a name is missing}"); shift ;;
    --full) FULL=yes ;;
    -h | --help) usage; exit ;;
    *) usage >&2; exit 2 ;;
  esac
  shift
done

MB_MAX=120
WORK=$(mktemp -d "${TMPDIR:-/tmp}/tasker-builds.XXXXXX")
trap 'rm -rf --one-file-system "$WORK"' EXIT
export DOCKER_BUILDKIT=1 BUILDKIT_PROGRESS=plain
VERSION=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
LABELS=(--build-arg "VERSION=$VERSION" --build-arg "REVISION=$(git rev-parse HEAD 2>/dev/null || echo unknown)"
  --build-arg "CREATED=$(date -u +%Y-%m-%dT%H:%M:%SZ)")
[ -z "${CHEF_IMAGE:-}" ] || LABELS+=(--build-arg "CHEF_IMAGE=$CHEF_IMAGE")

# ---- the Dockerfiles ------------------------------------------------------------------------------------------------

above_the_mark() { sed -e '1,2d' -e '/^# ---- the image itself/,$d' "$1"; }
stages() { grep -c '^FROM ' "$1"; }

check_dockerfiles() {
  local file
  diff <(above_the_mark docker/api/Dockerfile) <(above_the_mark docker/task-worker/Dockerfile) ||
    fail "the Dockerfiles differ above their mark, so each image compiles separately"
  ok "the Dockerfiles are the same above their mark: one compilation serves both images"
  [ Dockerfile -ef docker/api/Dockerfile ] || fail "Dockerfile is not a link to docker/api/Dockerfile"
  docker/build/update.sh --check
  for file in docker/api/Dockerfile docker/task-worker/Dockerfile; do
    ! grep -qi '^# *syntax *=' "$file" || fail "$file has a syntax line, which pulls an image at each build"
    [ "$(stages "$file")" -gt 5 ] || fail "$file does not build in stages"
    grep -q '^COPY --from=build ' "$file" || fail "$file copies no binary from the build stage"
    ! sed '1,/^# ---- the image itself/d' "$file" | grep '^FROM ' | grep -qv '^FROM \(debian:bookworm-slim\|base\) ' ||
      fail "the final image of $file is not based on Debian"
    grep -q 'cargo chef cook ' "$file" || fail "$file has no separate layer for dependencies"
    [ "$(grep -c -- '--mount=type=cache,' "$file")" -ge 4 ] || fail "$file uses no cache mounts"
    ok "$file: $(stages "$file") stages, cache mounts, no syntax line"
  done
}

# ---- builds ---------------------------------------------------------------------------------------------------------

build() { # TAG DOCKERFILE [OPTION...]
  local tag=$1 file=$2; shift 2
  docker build "${NETWORK[@]}" -f "$file" -t "$tag" "${LABELS[@]}" "$@" . >"$WORK/log" 2>&1 && return
  tail -n 40 "$WORK/log" >&2
  fail "$file does not build"
}

build_image() { # TAG DOCKERFILE [OPTION...]
  local began=$SECONDS
  build "$@"
  say "$1 was built in $((SECONDS - began)) s"
}

# steps CACHED|ALL: prints the numbers of the cached steps, or of all steps that produce a layer, in the last
# build log
steps() {
  case $1 in
    CACHED) sed -n 's/^#\([0-9]*\) CACHED$/\1/p' "$WORK/log" ;;
    ALL) sed -n 's/^#\([0-9]*\) \[.*\] \(RUN\|COPY\|ADD\|WORKDIR\) .*/\1/p' "$WORK/log" ;;
  esac | sort -u
}

check_second_build() { # TAG DOCKERFILE
  local began=$SECONDS made
  build "$@"
  [ "$(steps ALL | wc -l)" -gt 3 ] || fail "the log of docker build has an unknown format"
  made=$(comm -13 <(steps CACHED) <(steps ALL))
  [ -z "$made" ] || fail "an unchanged build of $2 repeats: $(grep "^#$(head -1 <<<"$made") \[" "$WORK/log" | head -1)"
  ok "$1: with nothing changed, all $(steps ALL | wc -l) steps come from the cache, in $((SECONDS - began)) s"
}

# ---- the images -----------------------------------------------------------------------------------------------------

in_image() { # IMAGE SCRIPT
  docker run --rm --network none --entrypoint sh "$1" -c "$2"
}

lacks() { # IMAGE PROGRAM...
  local image=$1; shift
  in_image "$image" "for name in $*; do ! command -v \$name || exit 1; done"
}

check_image() { # NAME USER PROGRAM...
  local image=$1:latest user=$2 bytes program; shift 2
  bytes=$(docker image inspect -f '{{.Size}}' "$image")
  [ "$bytes" -lt $((MB_MAX * 1000000)) ] || fail "$image has $((bytes / 1000000)) MB"
  ok "$image has $((bytes / 1000000)) MB"
  docker image inspect -f '{{json .Config}}' "$image" >"$WORK/config"
  for label in title version revision created; do
    grep -q "\"org.opencontainers.image.$label\"" "$WORK/config" || fail "$image lacks the label $label"
  done
  grep -q '"Healthcheck":{"Test":\["CMD",' "$WORK/config" || fail "$image has no health check, or one that uses a shell"
  [[ $(docker image inspect -f '{{.Config.User}}' "$image") =~ ^[1-9][0-9]*: ]] || fail "$image runs as root"
  [ "$(docker run --rm --network none --entrypoint id "$image" -un)" = "$user" ] || fail "$image does not run as $user"
  for program in "$@"; do
    docker run --rm --network none --read-only --entrypoint "$program" "$image" --help >/dev/null || fail "$image lacks $program"
    # a stripped binary has no table of symbols
    in_image "$image" "! grep -q '\.symtab' /usr/local/bin/$program" || fail "$program is not stripped"
  done
  ok "$image: user $user, labels, health check, stripped: $*"
  lacks "$image" cargo rustc cc gcc ld sqlx git || fail "$image contains build tools"
  check_without_shell "$image"
}

# Masks all shells and checks that the program still starts.
check_without_shell() { # IMAGE
  local masked=(docker run --rm --network none --read-only)
  local shell; for shell in $(in_image "$1" 'readlink -f /bin/sh /bin/bash'); do masked+=(-v "/dev/null:$shell:ro"); done
  ! "${masked[@]}" --entrypoint sh "$1" -c true 2>/dev/null || fail "the shell of $1 could not be masked"
  "${masked[@]}" "$1" --help >/dev/null || fail "$1 does not start without a shell"
  ok "$1: no build tools, starts without a shell"
}

check_worker_lacks_migrations() {
  lacks task-worker:latest tasker-server tasker psql pg_dump sqlx || fail "task-worker:latest can migrate"
  [ -z "$(in_image task-worker:latest 'find / -xdev -name "*.sql" -print -o -name migrations -print 2>/dev/null || true')" ] ||
    fail "task-worker contains migrations"
  in_image task-worker:latest '! grep -q "CREATE TABLE tasks" /usr/local/bin/tasker-worker' || fail "tasker-worker contains migrations"
  in_image tasker-server:latest 'grep -q "CREATE TABLE tasks" /usr/local/bin/tasker-server' || fail "tasker-server contains no migrations"
  ok "task-worker:latest: contains no migrations and no tools to run them"
}

check_tools() {
  [[ $(docker run --rm --network none --entrypoint psql tasker-server:tools --version) == psql* ]] || fail "no psql in tasker-server:tools"
  in_image tasker-server:tools 'sqlx migrate --help' 2>/dev/null || fail "no sqlx in tasker-server:tools"
  lacks tasker-server:latest psql sqlx || fail "psql or sqlx is in tasker-server:latest too"
  ok "tasker-server:tools has psql and sqlx ($(($(docker image inspect -f '{{.Size}}' tasker-server:tools) / 1000000)) MB)"
}

# ---- all of it ------------------------------------------------------------------------------------------------------

check_dockerfiles
build_image tasker-server:latest docker/api/Dockerfile
build_image task-worker:latest docker/task-worker/Dockerfile
build_image tasker-server:tools docker/api/Dockerfile --target tools
check_second_build tasker-server:latest docker/api/Dockerfile
check_second_build task-worker:latest docker/task-worker/Dockerfile
check_image tasker-server tasker tasker-server tasker
check_image task-worker taskworker tasker-worker
check_worker_lacks_migrations
check_tools
say "all $CHECKS checks of builds and images passed"
[ -z "$FULL" ] || docker/scripts/validate.sh --skip-build
