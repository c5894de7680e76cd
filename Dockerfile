# cloudfree in a container: CPU by default; CUDA by --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu130
# (the card's driver comes from the host: docker run --gpus all). See docs/install.md.
ARG PYTHON=3.13

FROM python:${PYTHON}-slim AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY cloudfree cloudfree
COPY weights weights
COPY sample_data sample_data
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:${PYTHON}-slim
ARG TORCH=2.13.0
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
# rasterio's own GDAL links to expat, and Triton, on a card, has a C compiler make what starts its kernels; slim images
# lack both.
RUN apt-get update && apt-get install --yes --no-install-recommends libexpat1 \
    $(case "${TORCH_INDEX}" in */cpu) ;; *) echo gcc libc6-dev ;; esac) && rm -rf /var/lib/apt/lists/*
COPY constraints.txt /tmp/constraints.txt
# Before the rest and by itself, so that no other index decides which build of torch it is.
RUN pip install --no-cache-dir --index-url "${TORCH_INDEX}" "torch==${TORCH}"
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir --constraint /tmp/constraints.txt "$(ls /wheels/*.whl)[dask]"
RUN useradd --create-home cloudfree
USER cloudfree
# Where Triton keeps kernels, for users that --user names and the container does not know.
ENV HOME=/tmp
WORKDIR /data
ENTRYPOINT ["cloudfree"]
CMD ["--help"]
