#!/bin/sh
# Copies the Dockerfiles of ../api and ../task-worker to the names in this folder. They are not links, since BuildKit
# follows no link out of the folder of a Dockerfile. --check only compares.
set -eu
cd "$(dirname "$0")"

each() { # SOURCE NAME
  if [ "$check" ]; then
    cmp -s "../$1/Dockerfile" "$2.prod.Dockerfile" ||
      { echo "docker/build/$2.prod.Dockerfile differs from docker/$1/Dockerfile: run docker/build/update.sh" >&2; exit 1; }
  else
    cp "../$1/Dockerfile" "$2.prod.Dockerfile"
  fi
}

case ${1:-} in
  '') check='' ;;
  --check) check=yes ;;
  *) echo "usage: docker/build/update.sh [--check]" >&2; exit 2 ;;
esac
each api orchestration
each task-worker rust-worker
