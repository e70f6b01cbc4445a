# shellcheck shell=bash
# Sourced by the scripts that check something: what they say, and how they count it.
STARTED=$SECONDS CHECKS=0
say() { printf '==> [%ss] %s\n' $((SECONDS - STARTED)) "$*"; }
fail() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }
ok() { CHECKS=$((CHECKS + 1)); printf '    ok: %s\n' "$*"; }
