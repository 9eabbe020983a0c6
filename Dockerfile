# ring-mcp over HTTP, or over stdio with `docker run -i … ring-mcp`. State and local files lie in /data: give it a volume.
ARG PYTHON=3.13

FROM python:${PYTHON}-slim AS build
WORKDIR /src
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_NO_CACHE=1
RUN pip install --no-cache-dir uv==0.13.9 && uv venv /opt/ring-mcp
COPY pyproject.toml README.md LICENSE presets.json ./
COPY sql ./sql
COPY icons ./icons
COPY ring_mcp ./ring_mcp
# Run in this folder, so that the versions that were tested count: the constraints of pyproject.toml.
RUN uv pip install --python /opt/ring-mcp/bin/python ".[otel,s3,scale,video]"

FROM python:${PYTHON}-slim
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="ring-mcp" \
      org.opencontainers.image.description="MCP server that makes images and videos on your own provider key" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.source="https://github.com/ring-mcp/ring-mcp" \
      org.opencontainers.image.documentation="https://github.com/ring-mcp/ring-mcp/blob/main/docs/deploy.md" \
      io.modelcontextprotocol.server.name="io.github.ring-mcp/ring-mcp"
RUN useradd --system --uid 10001 --home-dir /data --shell /usr/sbin/nologin ring \
    && install -d -o ring -g ring -m 0700 /data
COPY --from=build /opt/ring-mcp /opt/ring-mcp
ENV PATH=/opt/ring-mcp/bin:$PATH PYTHONUNBUFFERED=1 RING_STATE_DIR=/data
USER 10001
WORKDIR /data
VOLUME /data
EXPOSE 8787
# Enough for open calls to be answered and for the paid requests under way: see docs/deploy.md on the grace to set.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8787/healthz', timeout=4)"]
ENTRYPOINT ["ring-mcp"]
CMD ["serve", "--transport", "http", "--host", "0.0.0.0", "--port", "8787"]
