#!/bin/sh
# reload.sh BINARY: compiles the workspace and runs BINARY. Recompiles when a source changes, and restarts
# BINARY if it changed; if a change does not compile, the previous binary keeps running. Several containers
# may share the sources and the target folder: cargo's lock serializes their builds.
set -eu
stamp=/tmp/compiled

if [ "$1" = --compile ]; then
  cargo build --locked --quiet
  [ -z "$(find "$2" -newer $stamp)" ] || date >$stamp
  exit
fi

binary=$CARGO_TARGET_DIR/debug/$1

# entr exits with 2 when a file was added to a folder; keep_compiling then calls this again with the new list.
watch() {
  find .cargo .sqlx Cargo.lock Cargo.toml api cli client migrations shared worker -type f |
    entr -dn "$@" "$0" --compile "$binary"
}

keep_compiling() {
  while :; do
    watch || [ $? = 2 ] || sleep 1
  done
}

until cargo build --locked; do
  echo "reload: waiting for a change that compiles" >&2
  watch -pz || true
done
date >$stamp
(keep_compiling &) # not a child of entr, which would wait for it
exec entr -nr "$binary" <<END
$stamp
END
