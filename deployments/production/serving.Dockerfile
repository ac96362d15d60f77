# A server of one model, as `evergreen image` completes it.
ARG BASE=python:3-slim
FROM ${BASE}

# pip's packages come from the lock alone, each by its hash. A package index of your own: --secret id=pip,src=pip.conf
COPY requirements.txt /tmp/requirements.txt
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    python -m venv --without-pip /venv \
    && python -m pip --python /venv/bin/python install \
        --no-cache-dir --no-deps --require-hashes -r /tmp/requirements.txt \
    && find /venv -type d -name tests -not -path '*/evidently/*' -prune -exec rm -rf {} +

COPY app/ /app/
RUN python -m compileall -q /app && install -d -m 1777 /state

ENV PATH=/venv/bin:$PATH PYTHONPATH=/app PYTHONUNBUFFERED=1 EVERGREEN_HOME=/state
WORKDIR /app
# SageMaker asks for root: --build-arg RUN_AS=0:0
ARG RUN_AS=10001:10001
USER ${RUN_AS}
EXPOSE 8080
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-S", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8080/ping', timeout=4)"]
# SageMaker replaces the word below by its own, which is the same.
ENTRYPOINT ["python", "-m", "serving.container"]
CMD ["serve"]
