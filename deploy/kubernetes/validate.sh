#!/usr/bin/env bash
# Renders every overlay and checks the result. Needs no cluster. Installs Debian's kubernetes-client if
# kubectl is missing, and kubernetes-validate (PyPI) in its own folder.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
state=$here/../../.dev
VALIDATE=1.37.0

die() { printf 'validate: %s\n' "$*" >&2; exit 1; }
install_packages() {
  local sudo=()
  command -v apt-get >/dev/null || die "missing packages: $* (Debian names)"
  [ "$(id -u)" = 0 ] || sudo=(sudo -n)
  if ! "${sudo[@]}" sh -euc 'apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"' \
    sh "$@" >/dev/null; then
    die "apt-get could not install $*"
  fi
}

command -v kubectl >/dev/null || install_packages kubernetes-client
python3 -c 'import ensurepip, venv' 2>/dev/null || install_packages python3-venv
venv=$state/kubernetes-validate-$VALIDATE
if [ ! -e "$venv/complete" ]; then
  mkdir -p "$state"
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check "kubernetes-validate==$VALIDATE"
  touch "$venv/complete"
fi
exec "$venv/bin/python" "$here/validate.py"
