# ctbone with the versions of requirements.lock. Runs on processors, and on NVIDIA GPUs with: docker run --gpus all
FROM python:3.12-slim-bookworm

ENV PYTHONDONTWRITEBYTECODE=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    HOME=/tmp \
    LOGNAME=ctbone

WORKDIR /opt/ctbone
COPY pyproject.toml requirements.lock README.md LICENSE ./
COPY ctbone ctbone
COPY configs configs

# The lock also holds the developers' tools; it only constrains the versions here.
RUN sed -e 's/ *\\$//' -e '/^ *--hash/d' requirements.lock > constraints.txt \
    && pip install --constraint constraints.txt . \
    && ctbone --version

# Any user may run the image: docker run --user "$(id -u):$(id -g)" writes files that belong to you.
RUN useradd --uid 1000 ctbone \
    && mkdir /study \
    && chown ctbone /study
USER 1000
WORKDIR /study

ENTRYPOINT ["ctbone"]
CMD ["--help"]
