# The operator's image: one static program and the public certificate authorities. Build it with `docker build .`
# `make image` builds the same image without a container engine, see dev/image.
FROM rust:1.95-alpine AS build
RUN apk add --no-cache make musl-dev ca-certificates
WORKDIR /src
COPY . .
RUN cargo build --locked --release --bin mcpgateway-operator

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /src/target/release/mcpgateway-operator /mcpgateway-operator
# Numeric, so that Kubernetes can verify that it is not root.
USER 65532:65532
ENTRYPOINT ["/mcpgateway-operator"]
