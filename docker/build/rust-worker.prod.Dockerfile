# The worker with the built-in tasks: docker build -f docker/task-worker/Dockerfile -t task-worker .
# Above "the image itself", this file equals ../api/Dockerfile, so that BuildKit compiles once for both.
ARG RUST_VERSION=1.95
# The image with cargo-chef: the stage of that name, or one that was built before (docker/OPTIMIZATION-GUIDE.md).
ARG CHEF_IMAGE=chef
# The profile of cargo: release, or dev for images that tests build.
ARG PROFILE=release

FROM rust:${RUST_VERSION}-slim-bookworm AS rust
WORKDIR /src
ENV SQLX_OFFLINE=true CARGO_TERM_COLOR=never

# For docker-compose-dev.yaml: the toolchain, with the sources mounted at /src, and psql.
FROM rust AS dev
RUN apt-get update && apt-get install -y --no-install-recommends entr postgresql-client-15 && rm -rf /var/lib/apt/lists/*
COPY docker/api/psql docker/api/sqlx /usr/local/bin/
RUN useradd --uid 1000 --create-home tasker && install -d -o tasker /cargo /target /app/storage
ENV CARGO_HOME=/cargo CARGO_TARGET_DIR=/target PATH=/target/debug:$PATH
USER tasker
ENTRYPOINT ["/src/docker/scripts/reload.sh"]

FROM rust AS chef
RUN --mount=type=cache,id=tasker-registry,target=/usr/local/cargo/registry,sharing=locked \
    CARGO_PROFILE_RELEASE_STRIP=symbols cargo install cargo-chef --version 0.1.78 --locked

FROM ${CHEF_IMAGE} AS builder
WORKDIR /src
ENV SQLX_OFFLINE=true CARGO_TERM_COLOR=never CARGO_INCREMENTAL=0 CARGO_PROFILE_RELEASE_STRIP=symbols

FROM builder AS plan
COPY . .
RUN cargo chef prepare --recipe-path recipe.json

# This layer changes only with Cargo.lock or a manifest. It is copied out of a cache mount, so that updating one
# dependency compiles only that one. cargo-chef removes the workspace's own crates, so stale code cannot return.
FROM builder AS dependencies
ARG PROFILE
COPY --from=plan /src/recipe.json .
RUN --mount=type=cache,id=tasker-registry,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,id=tasker-dependencies,target=/src/target,sharing=locked \
    cargo chef cook --profile $PROFILE --locked --recipe-path recipe.json && cp -a target /dependencies

FROM builder AS build
ARG PROFILE
COPY --from=dependencies /dependencies target
COPY . .
RUN --mount=type=cache,id=tasker-registry,target=/usr/local/cargo/registry,sharing=locked \
    cargo build --profile $PROFILE --locked && cd target/$([ $PROFILE = dev ] && echo debug || echo $PROFILE) && \
    install -Dt /out tasker tasker-server tasker-worker

# ---- the image itself
FROM debian:bookworm-slim AS base
RUN groupadd --gid 10002 taskworker && \
    useradd --uid 10002 --gid taskworker --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin taskworker && \
    install -d -o taskworker -g taskworker /app /app/storage /app/storage/backups /app/task-templates
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/tasker-worker /usr/local/bin/
WORKDIR /app
ENV WORKER_LISTEN_ADDR=0.0.0.0:8081 TASKER_TEMPLATE_PATH=/app/task-templates
EXPOSE 8081
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD ["tasker-worker", "--healthcheck"]
ENTRYPOINT ["tasker-worker"]
ARG VERSION=dev
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
LABEL org.opencontainers.image.title="task-worker" \
      org.opencontainers.image.description="Tasker's worker with the built-in tasks" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.base.name="docker.io/library/debian:bookworm-slim" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"

# --target backup: the same with pg_dump, for task:backup. pg_dump must not be older than the Postgres that it dumps.
FROM base AS backup
RUN apt-get update && apt-get install -y --no-install-recommends postgresql-client-15 && rm -rf /var/lib/apt/lists/*
ENV PATH=/usr/lib/postgresql/15/bin:$PATH
USER 10002:10002

FROM base AS task-worker
# A numeric user, so that Kubernetes can verify that it is not root.
USER 10002:10002
