# The web service; `recto worker` and `recto migrate` are other commands of the same image (compose.yaml).

FROM python:3.11 AS build
WORKDIR /src
COPY . .
RUN python -m venv /opt/recto && /opt/recto/bin/pip install --no-cache-dir -c constraints.txt '.[valkey]'

FROM python:3.11-slim
COPY --from=build /opt/recto /opt/recto
# Where pictures are kept unless STORAGE_URL names a bucket: a volume's first owner is the folder's.
RUN useradd --uid 10001 recto && install -d -o recto -g recto /var/lib/recto
ENV PATH="/opt/recto/bin:$PATH"
USER recto
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
CMD ["recto", "serve", "--bind", "0.0.0.0:8000"]
