# Docker image of ltmed for CPUs or NVIDIA GPUs:
#   docker build -t ltmed .
#   docker build -t ltmed:cuda --build-arg TORCH=cu130 .
# The working directory is /home/ltmed. Mount a folder there to keep results and decoded images, and to provide data:
#   docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/home/ltmed" ltmed demo
#   docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/home/ltmed" --gpus all --ipc host ltmed:cuda \
#     train method=proco dataset=isic2018 dataset.root=DIR trainer=gpu
ARG PYTHON=3.12
FROM python:${PYTHON}-slim

# Value for `uv pip install --torch-backend`, for example cpu, cu126, cu128 or cu130.
ARG TORCH=cpu
ARG EXTRAS=dicom,export,sweep

RUN pip install --no-cache-dir uv
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY ltmed ltmed
COPY conf conf
COPY experiments experiments
RUN uv pip install --system --no-cache --compile-bytecode --torch-backend "${TORCH}" \
    --constraint constraints.txt ".[${EXTRAS}]"

# --user runs as a user without a home directory.
ENV HOME=/tmp LTMED_CACHE_DIR=/home/ltmed/.cache/ltmed
WORKDIR /home/ltmed
ENTRYPOINT ["ltmed"]
CMD ["--help"]
