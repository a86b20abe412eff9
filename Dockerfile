# The image of both roles. Everything in it is copied into one folder by tools/image.py, which `make image-size` does
# without Docker; it has Python and the program, and neither a shell nor pip, a compiler or a package manager.
#
#   docker build --build-arg BASE_DIGEST=sha256:… --tag vgpu-tenant-exporter .

# The release workflow asks the registry for the tag's digest. Without one you build from whatever the tag is today.
ARG BASE=python:3.11-slim-bookworm
ARG BASE_DIGEST=""

FROM ${BASE}${BASE_DIGEST:+@${BASE_DIGEST}} AS files
WORKDIR /src
COPY . .
RUN ["python", "-m", "tools.image", "/image"]

FROM scratch
ARG BASE
ARG BASE_DIGEST
ARG VERSION=""
ARG REVISION=unknown
ARG SOURCE=""
LABEL org.opencontainers.image.title="vgpu-tenant-exporter" \
      org.opencontainers.image.description="Who really uses the shared GPUs of a HAMi cluster, beside what they were granted" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.base.name="${BASE}" \
      org.opencontainers.image.base.digest="${BASE_DIGEST}"
COPY --from=files /image /
# All bytecode is there already, and nobody may write any.
ENV PATH=/usr/local/bin:/usr/bin:/bin \
    LANG=C.UTF-8 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    VGPU_EXPORTER_REVISION="${REVISION}"
USER 65534:65534
# It starts: a file that tools/image.py forgot would show here.
RUN ["vgpu-exporter", "--version"]
EXPOSE 9836 9837
# For Docker alone, a kubelet has probes of its own. 9837 is the default of --health-listen, of `node` and `quota`.
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s CMD ["python3", "-c", "import http.client, sys; health = http.client.HTTPConnection('127.0.0.1', int(sys.argv[1]), timeout=3); health.request('GET', '/healthz'); sys.exit(health.getresponse().status != 200)", "9837"]
ENTRYPOINT ["vgpu-exporter"]
CMD ["--help"]
