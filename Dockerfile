# One image for every service of ours; the command chooses which: gateway, settlement, paymaster, sentinel, or the
# operator's pb. Node runs JavaScript that the build made of our TypeScript, in the folders of the repository.
#
# For linux/amd64: there libsecp256k1 comes ready with its npm package. Elsewhere a slower JavaScript version is used.

# What runs beside our code: the packages that the programs below need, as package-lock.json has them.
FROM node:20-slim AS packages
WORKDIR /app
COPY .npmrc package.json package-lock.json ./
COPY protocol/package.json protocol/
COPY runtime/package.json runtime/
COPY rules/package.json rules/
COPY bundler-client/package.json bundler-client/
COPY db/package.json db/
COPY gateway/package.json gateway/
COPY settlement/package.json settlement/
COPY paymaster/package.json paymaster/
COPY sentinel/package.json sentinel/
COPY cli/package.json cli/
# Their install scripts only look for a compiler, which is not here.
RUN npm ci --omit=dev --ignore-scripts --workspace=gateway --workspace=settlement --workspace=paymaster --workspace=sentinel --workspace=cli

# JavaScript of our TypeScript. Of the tools only the compiler is used, so their programs for this platform stay away.
FROM node:20-slim AS build
WORKDIR /build
COPY .npmrc package.json package-lock.json tsconfig.base.json ./
COPY protocol/package.json protocol/
RUN npm ci --omit=optional --ignore-scripts --include-workspace-root --workspace=protocol
COPY ops/image/ ops/image/
COPY protocol/ protocol/
COPY runtime/ runtime/
COPY rules/ rules/
COPY bundler-client/ bundler-client/
COPY db/ db/
COPY gateway/ gateway/
COPY settlement/ settlement/
COPY paymaster/ paymaster/
COPY sentinel/ sentinel/
COPY cli/ cli/
RUN node ops/image/compile.mjs out protocol runtime rules bundler-client db gateway settlement paymaster sentinel cli

FROM node:20-slim
ENV NODE_ENV=production HOST=0.0.0.0 PORT=8080
WORKDIR /app
COPY --from=packages /app/ ./
COPY --from=build /build/out/ ./
COPY ops/image/healthcheck.mjs ops/image/pb.mjs ops/image/stream ./
# Nothing is written where this runs: the root file system may be read-only.
USER node
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --start-interval=1s \
  CMD ["node", "/app/healthcheck.mjs", "http://127.0.0.1:8080/ready"]
ENTRYPOINT ["/app/stream"]
CMD ["gateway"]
