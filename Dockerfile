# Two images: `serve` (the default), and `train`, which adds TensorFlow and tensornets. See docs/deploy.md.
#
#     docker build --tag boxwright:0.1.0 .
#     docker build --tag boxwright-train:0.1.0 --target train .
#
# A tag can be moved, a digest cannot. To build on a fixed base image:
#     --build-arg BASE=docker.io/library/python:3.11-slim-bookworm@sha256:...
ARG BASE=docker.io/library/python:3.11-slim-bookworm


# Packages are installed from wheels with exact versions, so nothing is compiled. pip is in /tools, which the final images do not have.
FROM ${BASE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
RUN python -m venv /tools && python -m venv --without-pip /opt/boxwright
COPY pyproject.toml constraints.txt ./
RUN /tools/bin/pip install --only-binary :all: --constraint constraints.txt setuptools \
 && python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" > core.txt \
 && /tools/bin/pip --python /opt/boxwright/bin/python install --only-binary :all: --constraint constraints.txt --requirement core.txt \
 && find /opt/boxwright/lib -type d \( -name tests -o -path '*/onnx/test' -o -path '*/onnx/backend/test' \) -prune -exec rm -r {} +


# Boxwright is installed as a wheel, so that the image has exactly the files of the package.
FROM build AS wheel
COPY README.md LICENSE ./
COPY detector detector
COPY weights weights
COPY training training
COPY service service
COPY cli cli
COPY boxwright boxwright
RUN /tools/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheel .


FROM build AS build-serve
COPY --from=wheel /wheel /wheel
RUN /tools/bin/pip --python /opt/boxwright/bin/python install --no-deps /wheel/boxwright-*.whl


# tensornets is distributed as source and needs a C compiler, which only this stage has.
FROM build AS build-train
RUN apt-get update \
 && apt-get install --yes --no-install-recommends gcc libc6-dev \
 && rm -rf /var/lib/apt/lists/*
RUN /tools/bin/pip install --only-binary :all: --constraint constraints.txt cython numpy \
 && /tools/bin/pip wheel --no-deps --no-build-isolation --constraint constraints.txt --wheel-dir /wheels tensornets \
 && python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']['train'], sep='\n')" > train.txt \
 && /tools/bin/pip --python /opt/boxwright/bin/python install --only-binary :all: --find-links /wheels --constraint constraints.txt --requirement train.txt
COPY --from=wheel /wheel /wheel
RUN /tools/bin/pip --python /opt/boxwright/bin/python install --no-deps /wheel/boxwright-*.whl


# The common part of both images. They write only to /models, and to /tmp during training.
FROM ${BASE} AS runtime
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Boxwright" \
      org.opencontainers.image.description="Object detection over HTTP: YOLOv2-type networks on a CPU, with a model inside." \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="docker.io/library/python:3.11-slim-bookworm"
RUN groupadd --gid 10001 boxwright \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin boxwright \
 && install --directory --owner=10001 --group=10001 /models
ENV PATH=/opt/boxwright/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    BOXWRIGHT_HOME=/models \
    BOXWRIGHT_HOST=0.0.0.0 \
    BOXWRIGHT_PORT=8000
WORKDIR /models
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
ENTRYPOINT ["/opt/boxwright/bin/boxwright"]
CMD ["serve"]


# No HEALTHCHECK: this image is mostly used for fine-tuning, which answers no requests.
FROM runtime AS train
ENV MPLCONFIGDIR=/tmp/matplotlib
COPY --from=build-train /opt/boxwright /opt/boxwright


FROM runtime AS serve
COPY --from=build-serve /opt/boxwright /opt/boxwright
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s --retries=3 CMD ["/opt/boxwright/bin/boxwright", "health"]
