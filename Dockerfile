# The server on a CPU, without root: docker build --tag span-marker . && docker run --publish 127.0.0.1:8000:8000
#   --volume "$PWD/my-model:/model:ro" span-marker
# To bake a model in, add these lines to a Dockerfile of your own: FROM span-marker, COPY my-model /model
ARG PYTHON_IMAGE=python:3.12.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
WORKDIR /src
RUN python -m venv /opt/span-marker
ENV PATH=/opt/span-marker/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# The libraries first: they stay in the cache while the code changes.
COPY pyproject.toml constraints.txt ./
RUN python -c "import pathlib, tomllib; p = tomllib.loads(pathlib.Path('pyproject.toml').read_text())['project']; print(*p['dependencies'], *p['optional-dependencies']['serve'], sep='\n')" > requirements.txt
# The index of PyTorch's builds for CPUs, as pytorch.org names it. Without it, the image has gigabytes of CUDA in it.
ARG TORCH_INDEX=
RUN pip install --constraint constraints.txt ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} --requirement requirements.txt
COPY README.md LICENSE span_marker_spacy.py ./
COPY span_marker span_marker
COPY span_marker_cli span_marker_cli
RUN pip install --no-deps .

FROM ${PYTHON_IMAGE}
RUN useradd --create-home --uid 10001 server
COPY --from=build /opt/span-marker /opt/span-marker
USER server
WORKDIR /home/server
# Nothing is fetched at run time: models are folders. Threads that wait sleep, since a container seldom has its cores alone.
ENV PATH=/opt/span-marker/bin:$PATH HF_HUB_OFFLINE=1 PYTHONUNBUFFERED=1 OMP_WAIT_POLICY=passive
EXPOSE 8000
# Whether it answers, not /ready: a server that has as many requests as it may is not to be restarted.
HEALTHCHECK --interval=30s --timeout=5s --start-period=120s CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/health', timeout=4)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["span-marker", "serve", "--host", "0.0.0.0"]
CMD ["/model"]
