# trm-deploy on a datacenter GPU: TensorRT and its Python package are those of NVIDIA's container. A plan runs in the
# TensorRT that built it: build it in this image too.
#
#     docker build -f docker/datacenter.Dockerfile -t trm-deploy-gpu .
#     docker run --rm --gpus all -v "$PWD:/models" trm-deploy-gpu export model.onnx --format trt -o model.plan
#     docker run --rm --gpus all -p 8080:8080 -e TRM_DEPLOY_TOKEN -v "$PWD:/models:ro" trm-deploy-gpu \
#         serve --engine model.plan
ARG BASE=nvcr.io/nvidia/tensorrt:25.06-py3
FROM ${BASE}
COPY . /src
ENV SYSTEM_PACKAGES=1
RUN /src/docker/container.sh install /src onnx,serve \
    && /opt/trm-deploy/bin/python -m pip install --no-cache-dir 'cuda-python>=12.6,<14' \
    && cp /src/docker/container.sh /usr/local/bin/ \
    && container.sh check \
    && rm -rf /src \
    && useradd --uid 10001 --create-home trm
ENV PATH=/opt/trm-deploy/bin:$PATH PYTHONUNBUFFERED=1
USER 10001
WORKDIR /models
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD ["container.sh", "health"]
ENTRYPOINT ["container.sh"]
CMD ["serve"]
