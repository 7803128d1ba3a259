# Builds the single binary, for amd64 or arm64 on either (docker buildx build --platform linux/amd64,linux/arm64), then ships it alone.
# A tag moves: for the same image twice, name both by the digest that the registry says they have now,
#   docker buildx imagetools inspect node:26-bookworm-slim --format '{{.Manifest.Digest}}'     (and debian:bookworm-slim)
#   docker build --build-arg NODE_IMAGE=node@sha256:… --build-arg BASE_IMAGE=debian@sha256:… .
ARG NODE_IMAGE=node:26-bookworm-slim
ARG BASE_IMAGE=debian:bookworm-slim

# On the builder's own architecture, as emulation is slow: the binary of the other one is put together, not run.
FROM --platform=${BUILDPLATFORM} ${NODE_IMAGE} AS build
RUN apt-get update && apt-get install -y --no-install-recommends binutils libatomic1 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY package.json package-lock.json ./
COPY scripts/setup.mjs scripts/
RUN node scripts/setup.mjs
COPY . .
ARG TARGETARCH
# The Node that ships is not the image's, but the one whose hash stands in scripts/pinned-node.ts.
RUN npm run build -- --arch "${TARGETARCH}"

FROM ${BASE_IMAGE}
# What the Node inside the binary is linked against; slim images lack libatomic.
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates libatomic1 libstdc++6 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --no-create-home --uid 10001 crossfade \
    && install -d -m 0700 -o crossfade -g crossfade /var/lib/crossfade
ARG TARGETARCH
COPY --from=build /src/dist/crossfade-${TARGETARCH} /usr/local/bin/crossfade
# By number: Kubernetes' runAsNonRoot cannot know a name.
USER 10001:10001
# The admin port stays on loopback unless CROSSFADE_ADMIN and CROSSFADE_ADMIN_TOKEN say otherwise.
ENV CROSSFADE_LISTEN=0.0.0.0:7400 CROSSFADE_EDGE=0.0.0.0:7401 CROSSFADE_DATA_DIR=/var/lib/crossfade
# The embedded log, where there is no REDIS_URL.
VOLUME /var/lib/crossfade
EXPOSE 7400 7401 7402 7403
# Whether it can do its own job now, by the binary itself: there is no curl here.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["crossfade", "health"]
ARG REVISION=unknown
LABEL org.opencontainers.image.title="crossfade" \
      org.opencontainers.image.description="Fades a legacy SignalR bridge over to Redis Streams, a room at a time" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="MIT"
ENTRYPOINT ["crossfade"]
CMD ["serve"]
