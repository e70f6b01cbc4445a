#!/usr/bin/env bash
# Measures the build time of the images: unchanged, after a code change, and with --cold from an empty cache.
# Builds a copy of the last commit under separate image names.
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$ROOT"

usage() {
  cat <<'END2'
usage: docker/scripts/benchmark-builds.sh [--network NAME] [--cold]

  --network NAME  network for builds; `host` if containers have no internet access
  --cold          start with an empty cache: deletes the build cache of this Docker engine for ALL builds

CHEF_IMAGE names a prebuilt image with cargo-chef.
END2
}

COLD='' NETWORK=() CHEF=()
while [ $# -gt 0 ]; do
  case $1 in
    --network) NETWORK=(--network "${2:?a name is missing}"); shift ;;
    --cold) COLD=yes ;;
    -h | --help) usage; exit ;;
    *) usage >&2; exit 2 ;;
  esac
  shift
done

export DOCKER_BUILDKIT=1 BUILDKIT_PROGRESS=plain
[ -z "${CHEF_IMAGE:-}" ] || CHEF=(--build-arg "CHEF_IMAGE=$CHEF_IMAGE")
COPY=$(mktemp -d) LOG=$(mktemp)
finish() {
  rm -rf "$COPY" "$LOG"
  docker image rm -f tasker-build-benchmark:server tasker-build-benchmark:worker >/dev/null 2>&1 || true
}
trap finish EXIT
git archive HEAD | tar -x -C "$COPY"

build() { # NAME DOCKERFILE
  docker build "${NETWORK[@]}" "${CHEF[@]}" -f "$COPY/$2" -t "tasker-build-benchmark:$1" "$COPY" >"$LOG" 2>&1 && return
  tail -40 "$LOG" >&2
  return 1
}

measure() { # TEXT
  local began=$SECONDS
  build server docker/api/Dockerfile
  local server=$((SECONDS - began)) worker_began=$SECONDS
  build worker docker/task-worker/Dockerfile
  printf '%-34s server %4d s, worker then %4d s\n' "$1" "$server" $((SECONDS - worker_began))
}

if [ -n "$COLD" ]; then
  docker builder prune --all --force >/dev/null
  measure 'empty cache'
else
  measure 'first build, existing cache'
fi
measure 'unchanged'
echo "// changed at $(date +%s)" >>"$COPY/shared/core/src/lib.rs"
measure 'code changed (shared/core/src/lib.rs)'
