# Builds the image of tidegate-control-plane. From the root of the checkout:
#
#   docker build --file deploy/images/control-plane.Dockerfile --tag tidegate-control-plane .

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
    cargo build --locked --profile dist --package tidegate-control-plane --bin tidegate-control-plane \
    && install -D target/dist/tidegate-control-plane /out/tidegate-control-plane \
    && mkdir /out/data

# No shell and no package manager; only the C library and what the program links.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /out/tidegate-control-plane /usr/local/bin/tidegate-control-plane
# Everything that is kept. Mount a volume here, or it goes with the container.
COPY --from=build --chown=65532:65532 /out/data /var/lib/tidegate
USER 65532:65532
EXPOSE 7420 7421
# Without flags it listens on loopback only, which nobody outside the container
# reaches: give it addresses, as deploy/kubernetes does.
ENTRYPOINT ["/usr/local/bin/tidegate-control-plane"]
CMD ["--data", "/var/lib/tidegate"]
