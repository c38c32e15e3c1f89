# The server on a CPU, without root: docker build --tag span-marker . && docker run --publish 127.0.0.1:8000:8000
#   --volume "$PWD/my-model:/model:ro" span-marker
# To bake a model in, add these lines to a Dockerfile of your own: FROM span-marker, COPY my-model /model
FROM python:3.12-slim

RUN useradd --create-home --uid 10001 server
WORKDIR /src
COPY pyproject.toml README.md LICENSE span_marker_spacy.py constraints.txt ./
COPY span_marker span_marker
COPY span_marker_cli span_marker_cli
# The index of PyTorch's builds for CPUs, as pytorch.org names it. Without it, the image has gigabytes of CUDA in it.
ARG TORCH_INDEX=
RUN pip install --no-cache-dir --constraint constraints.txt ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} ".[serve]"

USER server
WORKDIR /home/server
ENV HF_HUB_OFFLINE=1 PYTHONUNBUFFERED=1
EXPOSE 8000
HEALTHCHECK --interval=30s --start-period=60s CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/ready')"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["span-marker", "serve", "--host", "0.0.0.0"]
CMD ["/model"]
