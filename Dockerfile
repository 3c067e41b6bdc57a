# syntax=docker/dockerfile:1
# Every command of Inkmill; `docker run IMAGE worker` is the worker.
#
#   --build-arg TORCH_INDEX=<address>   another package index for torch alone; PyPI's build runs on GPUs and CPUs
ARG PYTHON=python:3.11-slim-bookworm

FROM ${PYTHON} AS wheel
WORKDIR /src
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM ${PYTHON}
ARG TORCH_INDEX=
ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore \
    INKMILL_HOME=/data \
    INKMILL_MODELS=/models/own \
    HF_HOME=/models/huggingface \
    TORCH_HOME=/models/torch

# Named volumes take these folders' owner when they are first mounted.
RUN useradd --create-home --uid 1000 inkmill \
    && install --directory --owner inkmill --group inkmill /data /models /models/own /work

# torch is gigabytes and changes seldom: a layer of its own, that a change of the code leaves alone.
COPY constraints.txt /tmp/constraints.txt
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --constraint /tmp/constraints.txt ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch

RUN --mount=type=cache,target=/root/.cache/pip --mount=type=bind,from=wheel,source=/wheels,target=/wheels \
    pip install --constraint /tmp/constraints.txt "$(echo /wheels/inkmill-*.whl)[worker]"

USER inkmill
WORKDIR /work
ENTRYPOINT ["inkmill"]
CMD ["--help"]
