# The image of every process of Stepline: web, worker and commands differ only in what is run (compose.yaml).
# It holds no settings and no secrets: those come with the environment (docs/settings.md).

FROM python:3.13-slim-bookworm AS build
COPY requirements.txt /tmp/requirements.txt
# Wheels only: nothing is compiled, so the image needs no compiler.
RUN python -m venv /opt/venv \
 && /opt/venv/bin/pip install --no-cache-dir --disable-pip-version-check --only-binary :all: --requirement /tmp/requirements.txt

FROM python:3.13-slim-bookworm
RUN useradd --system --uid 10001 --home-dir /nonexistent --no-create-home --shell /usr/sbin/nologin stepline \
 && install --directory --owner stepline --group stepline --mode 0755 /data /data/static
COPY --from=build /opt/venv /opt/venv
COPY . /opt/stepline
WORKDIR /opt/stepline
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    DATA_DIR=/data \
    HOST=0.0.0.0 \
    PORT=8000
RUN python -m compileall -q -j 0 .
USER 10001:10001
EXPOSE 8000
# Of the web processes; a worker listens on nothing. 127.0.0.1 has to be among ALLOWED_HOSTS.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f'http://127.0.0.1:{os.environ[\"PORT\"]}/healthz', timeout=4)"]
STOPSIGNAL SIGTERM
CMD ["python", "manage.py", "serve", "--no-worker"]
