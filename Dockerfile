# One image with all three programs; the command chooses. Built from the workspace alone.
FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
# A C compiler is needed for SQLite and ring.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends gcc libc6-dev \
 && rm -rf /var/lib/apt/lists/*
COPY . .
RUN cargo build --release --locked --workspace --bins

FROM debian:bookworm-slim
# Certificates, for brokers and stores that speak TLS.
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --no-create-home cox
COPY --from=build /src/target/release/cox /src/target/release/cox-worker /src/target/release/cox-scheduler /usr/local/bin/
USER 10001
EXPOSE 9464
ENV COX_HTTP=0.0.0.0:9464
CMD ["cox", "--help"]
