# shellcheck shell=bash
# Sourced by the validation scripts: output and counting of checks.
STARTED=$SECONDS CHECKS=0
say() { printf '==> [%ss] %s\n' $((SECONDS - STARTED)) "$*"; }
fail() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }
ok() { CHECKS=$((CHECKS + 1)); printf '    ok: %s\n' "$*"; }
