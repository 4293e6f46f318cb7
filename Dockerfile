# The program on a small Debian, as a user without rights. What is copied, called and set here is
# looked up in the repository by `cargo xtask tidy`.

FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY .cargo .cargo
COPY crates crates
COPY xtask xtask
RUN cargo build --release --locked --package mainspring-cli

FROM debian:bookworm-slim
RUN useradd --system --uid 10001 --home-dir /var/lib/mainspring --create-home mainspring
COPY --from=build /src/target/release/mainspring /usr/local/bin/mainspring
USER 10001
WORKDIR /var/lib/mainspring
VOLUME /var/lib/mainspring
# In a container loopback is nobody's: who publishes the port decides who may come.
ENV MAINSPRING_LISTEN=0.0.0.0:8420
EXPOSE 8420
ENTRYPOINT ["mainspring"]
CMD ["up"]
