#!/usr/bin/env bash
# Builds substitutes for the base and service images where these cannot be pulled (offline machines, closed
# networks): Debian with debootstrap, Rust from the installed toolchain, Postgres, Redis and Prometheus from
# Debian's packages. Images that exist or can be pulled are kept. For tests only: in production, use the
# official images.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

usage() {
  cat <<'END'
usage: docker/scripts/base-images.sh [--network NAME] [--mirror URL] [--no-pull] [NAME...]

  --network NAME  network for builds; `host` if containers have no internet access
  --mirror URL    mirror of Debian's packages (http://deb.debian.org/debian)
  --no-pull       do not try to pull images

NAME: debian, rust, postgres, redis, prometheus; default: all. Needs root, and debootstrap for debian.

Debian's Prometheus is older than the version in the compose files: for these and for validate.sh, set
PROMETHEUS_IMAGE=prom/prometheus:v2.42.0.
END
}

say() { printf '==> %s\n' "$*"; }
die() { printf 'base-images: %s\n' "$*" >&2; exit 1; }

NETWORK=() MIRROR=http://deb.debian.org/debian PULL=yes NAMES=()
RUST_VERSION=$(sed -n 's/^ARG RUST_VERSION=//p' "$HERE/../api/Dockerfile")
declare -A IMAGE=(
  [debian]=debian:bookworm-slim
  [rust]=rust:$RUST_VERSION-slim-bookworm
  [postgres]=postgres:15-bookworm
  [redis]=redis:7-bookworm
  [prometheus]=prom/prometheus:v2.42.0
)

while [ $# -gt 0 ]; do
  case $1 in
    --network) NETWORK=(--network "$2"); shift ;;
    --mirror) MIRROR=$2; shift ;;
    --no-pull) PULL= ;;
    -h | --help) usage; exit ;;
    -*) usage >&2; exit 2 ;;
    *) [ -n "${IMAGE[$1]:-}" ] || die "unknown image: $1"; NAMES+=("$1") ;;
  esac
  shift
done
[ "${#NAMES[@]}" -gt 0 ] || NAMES=(debian rust postgres redis prometheus)

export DOCKER_BUILDKIT=1
WORK=$(mktemp -d "${TMPDIR:-/tmp}/base-images.XXXXXX")
trap 'rm -rf --one-file-system "$WORK"' EXIT

there() { docker image inspect "$1" >/dev/null 2>&1 || { [ -n "$PULL" ] && timeout 120 docker pull -q "$1" >/dev/null 2>&1; }; }

# build NAME FOLDER: builds an image from the Dockerfile on standard input.
build() { docker build -q "${NETWORK[@]}" -t "${IMAGE[$1]}" -f - "$2" >/dev/null; }

# Excludes documents, translations and package lists, as the official image does.
make_debian() {
  [ "$(id -u)" = 0 ] || die "debootstrap needs root"
  command -v debootstrap >/dev/null || die "debootstrap is missing: apt-get install debootstrap"
  local root=$WORK/debian
  debootstrap --variant=minbase bookworm "$root" "$MIRROR" >"$WORK/debootstrap.log" 2>&1 ||
    { tail -n 20 "$WORK/debootstrap.log" >&2; die "debootstrap failed"; }
  cat >"$root/etc/dpkg/dpkg.cfg.d/slim" <<'END'
path-exclude /usr/share/doc/*
path-include /usr/share/doc/*/copyright
path-exclude /usr/share/info/*
path-exclude /usr/share/locale/*
path-exclude /usr/share/man/*
END
  printf 'Dir::Cache::pkgcache ""; Dir::Cache::srcpkgcache "";\n' >"$root/etc/apt/apt.conf.d/slim"
  find "$root/usr/share/doc" ! -type d ! -name copyright -delete
  rm -rf "$root"/usr/share/{info,locale,man}/* "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/var/log/* \
    "$root"/var/cache/debconf/*-old
  tar -C "$root" --numeric-owner --sort=name -c . | docker import --change 'CMD ["bash"]' - "${IMAGE[debian]}" >/dev/null
}

# The toolchain without its documentation. The certificates of this machine are included, since cargo needs
# them behind a TLS-intercepting proxy.
make_rust() {
  local sysroot; sysroot=$(rustc "+$RUST_VERSION" --print sysroot 2>/dev/null || rustc --print sysroot)
  [[ $("$sysroot/bin/rustc" --version) == "rustc $RUST_VERSION"* ]] || die "Rust $RUST_VERSION is not installed"
  mkdir -p "$WORK/rust/toolchain"
  cp -al "$sysroot"/{bin,lib,libexec} "$WORK/rust/toolchain/" 2>/dev/null ||
    cp -a "$sysroot"/{bin,lib,libexec} "$WORK/rust/toolchain/"
  cp /etc/ssl/certs/ca-certificates.crt "$WORK/rust/"
  build rust "$WORK/rust" <<'END'
FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
COPY toolchain /usr/local/rustup/toolchains/installed
COPY ca-certificates.crt /etc/ssl/certs/
ENV CARGO_HOME=/usr/local/cargo PATH=/usr/local/cargo/bin:/usr/local/rustup/toolchains/installed/bin:$PATH
RUN mkdir -p -m 777 $CARGO_HOME
END
}

make_postgres() {
  mkdir -p "$WORK/postgres"
  cp "$HERE/stand-ins/postgres.sh" "$WORK/postgres/"
  build postgres "$WORK/postgres" <<'END'
FROM debian:bookworm-slim
RUN groupadd -r -g 999 postgres && useradd -r -u 999 -g postgres -d /var/lib/postgresql -s /bin/bash postgres
RUN mkdir -p /etc/postgresql-common/createcluster.d && \
    echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.d/none.conf && \
    apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends postgresql-15 && \
    rm -rf /var/lib/apt/lists/*
ENV PATH=$PATH:/usr/lib/postgresql/15/bin PGDATA=/var/lib/postgresql/data LANG=C.UTF-8
RUN install -d -o postgres -g postgres -m 1777 "$PGDATA" /var/run/postgresql
COPY postgres.sh /usr/local/bin/docker-entrypoint.sh
VOLUME /var/lib/postgresql/data
STOPSIGNAL SIGINT
EXPOSE 5432
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["postgres"]
END
}

make_redis() {
  mkdir -p "$WORK/redis"
  build redis "$WORK/redis" <<'END'
FROM debian:bookworm-slim
RUN groupadd -r -g 999 redis && useradd -r -u 999 -g redis redis
RUN apt-get update && apt-get install -y --no-install-recommends redis-server && rm -rf /var/lib/apt/lists/*
RUN install -d -o redis -g redis /data
USER redis
WORKDIR /data
VOLUME /data
EXPOSE 6379
CMD ["redis-server", "--protected-mode", "no"]
END
}

make_prometheus() {
  mkdir -p "$WORK/prometheus"
  build prometheus "$WORK/prometheus" <<'END'
FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends prometheus && rm -rf /var/lib/apt/lists/* && \
    ln -s /usr/bin/prometheus /usr/bin/promtool /bin/ 2>/dev/null; install -d -o nobody -g nogroup /prometheus
USER nobody
WORKDIR /prometheus
VOLUME /prometheus
EXPOSE 9090
ENTRYPOINT ["/bin/prometheus"]
CMD ["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"]
END
}

for name in "${NAMES[@]}"; do
  if there "${IMAGE[$name]}"; then
    say "${IMAGE[$name]} is available"
  else
    say "${IMAGE[$name]} cannot be pulled; building a substitute"
    "make_$name"
  fi
done
docker image inspect grafana/grafana >/dev/null 2>&1 || say "no substitute for Grafana: Debian has no package"
