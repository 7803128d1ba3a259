# Builds the single binary, then ships it alone.
# A tag moves: for the same image twice, name both by the digest that the registry says they have now,
#   docker buildx imagetools inspect node:26-bookworm-slim --format '{{.Manifest.Digest}}'     (and debian:bookworm-slim)
#   docker build --build-arg NODE_IMAGE=node@sha256:… --build-arg BASE_IMAGE=debian@sha256:… .
ARG NODE_IMAGE=node:26-bookworm-slim
ARG BASE_IMAGE=debian:bookworm-slim

FROM ${NODE_IMAGE} AS build
RUN apt-get update && apt-get install -y --no-install-recommends binutils libatomic1 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY package.json package-lock.json ./
COPY scripts/setup.mjs scripts/
RUN node scripts/setup.mjs
COPY . .
# The Node that ships is not the image's, but the one whose hash stands in scripts/pinned-node.ts.
RUN npm run build

FROM ${BASE_IMAGE}
# What the Node inside the binary is linked against; slim images lack libatomic.
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates libatomic1 libstdc++6 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --no-create-home --uid 10001 crossfade \
    && install -d -m 0700 -o crossfade -g crossfade /var/lib/crossfade
COPY --from=build /src/dist/crossfade /usr/local/bin/crossfade
USER crossfade
# The admin port stays on loopback unless CROSSFADE_ADMIN and CROSSFADE_ADMIN_TOKEN say otherwise.
ENV CROSSFADE_LISTEN=0.0.0.0:7400 CROSSFADE_EDGE=0.0.0.0:7401 CROSSFADE_DATA_DIR=/var/lib/crossfade
# The embedded log, where there is no REDIS_URL.
VOLUME /var/lib/crossfade
EXPOSE 7400 7401 7402
ENTRYPOINT ["crossfade"]
CMD ["serve"]
