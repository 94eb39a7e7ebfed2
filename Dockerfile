# Every stage uses the same Node and Debian, so that installed modules run in the final image. It is pinned to a version and its
# digest; for a newer one, `docker buildx imagetools inspect node:VERSION-bookworm-slim` prints the digest.
FROM node:24.20.0-bookworm-slim@sha256:ba849c60be29959425b8734d57b8b4b7d56f98edd9504c9af091d5281095a71e AS base

FROM base AS source
WORKDIR /app
COPY package.json package-lock.json .npmrc ./

FROM source AS build
RUN npm ci --omit=optional --ignore-scripts
COPY tsconfig.json openapi.yaml ./
COPY migrations ./migrations
COPY src ./src
# The assets directory must exist for the COPY below, even if it is empty.
RUN npm run build && mkdir -p src/site/assets

FROM source AS dependencies
# The compiler and the types are dependencies, so that an installation can build itself. The image does not need them.
RUN npm ci --omit=dev --omit=optional --ignore-scripts && npm cache clean --force \
  && rm -r node_modules/typescript node_modules/@types

FROM base
ENV NODE_ENV=production
WORKDIR /app
COPY --from=dependencies /app/node_modules ./node_modules
# The guides are pages.
COPY package.json openapi.yaml CHANGELOG.md ./
COPY docs ./docs
COPY --from=build /app/src/site/assets ./src/site/assets
COPY --from=build /app/dist ./dist
USER node
EXPOSE 3000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
  CMD ["node", "-e", "http.get({ port: process.env.PORT || 3000, path: '/ready', agent: false }, (answer) => process.exit(answer.statusCode === 200 ? 0 : 1)).on('error', () => process.exit(1))"]
CMD ["node", "dist/src/main.js"]
