#!/usr/bin/env bash
# Checks everything in deploy/ and the compose files. Needs only Rust; installs Debian's prometheus,
# kubernetes-client and docker-compose if missing.
#   deploy/check.sh            alert rules and their tests, manifests, compose files, and all queries on a real
#                              Prometheus
#   deploy/check.sh --quick    skips the queries, which build Tasker and take a minute longer
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

install_packages() {
  local sudo=()
  command -v apt-get >/dev/null || { printf 'check: missing packages: %s (Debian names)\n' "$*" >&2; exit 1; }
  [ "$(id -u)" = 0 ] || sudo=(sudo -n)
  # keep the package from starting a service
  # shellcheck disable=SC2016
  "${sudo[@]}" sh -euc '
    policy=/usr/sbin/policy-rc.d made=
    trap "[ -z \"\$made\" ] || rm -f $policy" EXIT
    [ -e "$policy" ] || { made=1; printf "#!/bin/sh\nexit 101\n" >"$policy"; chmod 755 "$policy"; }
    apt-get update >/dev/null
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@" >/dev/null
    systemctl disable prometheus >/dev/null 2>&1 || true' sh "$@"
}

if ! command -v promtool || ! command -v prometheus; then install_packages prometheus; fi >/dev/null
if ! docker compose version && ! command -v docker-compose; then install_packages docker-compose; fi >/dev/null 2>&1
promtool check config deploy/prometheus/prometheus.yml configs/prometheus.yml
promtool test rules deploy/prometheus/tests/*.yml
deploy/kubernetes/validate.sh
docker/scripts/check-files.sh
[ "${1:-}" != --quick ] || exit 0
./dev test --package tasker-e2e --test it -- --include-ignored monitoring::
