# Builds the single binary, then ships it alone.
FROM node:26-bookworm-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends binutils libatomic1 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY package.json package-lock.json ./
RUN npm install --no-save --no-audit --no-fund
COPY . .
RUN npm run build

FROM debian:bookworm-slim
# What the Node inside the binary is linked against; slim images lack libatomic.
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates libatomic1 libstdc++6 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --no-create-home --uid 10001 crossfade
COPY --from=build /src/dist/crossfade /usr/local/bin/crossfade
USER crossfade
# The admin port stays on loopback unless CROSSFADE_ADMIN and CROSSFADE_ADMIN_TOKEN say otherwise.
ENV CROSSFADE_LISTEN=0.0.0.0:7400 CROSSFADE_EDGE=0.0.0.0:7401
EXPOSE 7400 7401 7402
ENTRYPOINT ["crossfade"]
CMD ["serve"]
