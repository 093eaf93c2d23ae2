# Builds the image of tidegate-edge. From the root of the checkout:
#
#   docker build --file deploy/images/edge.Dockerfile --tag tidegate-edge .

FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY proto proto
COPY shared shared
COPY services services
# Only so that the workspace is whole; nothing of it is built.
COPY tests tests
# The caches stay with the builder: a second build compiles what has changed.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --locked --profile dist --package tidegate-edge --bin tidegate-edge \
    && install -D target/dist/tidegate-edge /out/tidegate-edge \
    && mkdir /out/cache

# No shell and no package manager; only the C library and what the program links.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /out/tidegate-edge /usr/local/bin/tidegate-edge
# Blobs of releases. They can be fetched again: no volume is needed.
COPY --from=build --chown=65532:65532 /out/cache /var/cache/tidegate
USER 65532:65532
EXPOSE 8080 8081
# Without flags it listens on loopback only, which nobody outside the container
# reaches: give it addresses, as deploy/kubernetes does.
ENTRYPOINT ["/usr/local/bin/tidegate-edge"]
CMD ["--cache-dir", "/var/cache/tidegate"]
