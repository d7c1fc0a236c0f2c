# One image with all three programs; the command chooses. Built from the workspace alone.
FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
# A C compiler, for SQLite and ring. Debian's security updates replace versions, so pinning one would break the build.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends gcc libc6-dev \
 && rm -rf /var/lib/apt/lists/*
COPY . .
RUN cargo build --release --locked --workspace --bins

FROM debian:bookworm-slim
# Certificates, for brokers, stores and model providers that speak TLS. No init: it would keep all variables in its own
# environment, where commands of the same user read them; each command has a supervisor that reaps what it leaves.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates \
 && rm -rf /var/lib/apt/lists/* \
 && groupadd --gid 10001 cox \
 && useradd --uid 10001 --gid cox --no-log-init --no-create-home --shell /usr/sbin/nologin cox
COPY --from=build /src/target/release/cox /src/target/release/cox-worker /src/target/release/cox-scheduler /usr/local/bin/
USER 10001:10001
WORKDIR /tmp
EXPOSE 9464
ENV COX_HTTP=0.0.0.0:9464
CMD ["cox", "--help"]
