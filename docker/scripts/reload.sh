#!/bin/sh
# reload.sh BINARY: compiles the workspace's binaries and runs BINARY. Compiles again whenever a source changes, and starts
# BINARY anew when that gave another one; while a change does not compile, the one before it goes on.
# Several containers may share the sources and the target folder: cargo's own lock lets one of them compile.
set -eu
stamp=/tmp/compiled

if [ "$1" = --compile ]; then
  cargo build --locked --quiet
  [ -z "$(find "$2" -newer $stamp)" ] || date >$stamp
  exit
fi

binary=$CARGO_TARGET_DIR/debug/$1

# entr ends with 2 when a file was added to a folder: then the list is made anew.
watch() {
  find .cargo .sqlx Cargo.lock Cargo.toml api cli migrations shared worker -type f |
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
(keep_compiling &) # no child of entr's, which waits for all of its children
exec entr -nr "$binary" <<END
$stamp
END
