# trm-deploy on a Jetson with JetPack 6: TensorRT 10.3 and its Python package are the base's. Built on the Jetson.
#
#     docker build -f docker/jetpack.Dockerfile -t trm-deploy-jetpack .
#     docker run --rm --runtime nvidia -v "$PWD:/models" trm-deploy-jetpack export model.onnx --format trt -o model.plan
#     docker run --rm --runtime nvidia -p 8080:8080 -e TRM_DEPLOY_TOKEN -v "$PWD:/models:ro" trm-deploy-jetpack \
#         serve --engine model.plan
ARG BASE=nvcr.io/nvidia/l4t-jetpack:r36.4.0
FROM ${BASE}
# python3-libnvinfer is TensorRT's own package from NVIDIA's archive, whose version is the base's.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3-venv python3-libnvinfer \
    && rm -rf /var/lib/apt/lists/*
COPY . /src
ENV SYSTEM_PACKAGES=1
# cuda-python of the JetPack's CUDA; ONNX Runtime for what is no plan, on the CPU.
RUN /src/docker/container.sh install /src onnx,serve \
    && /opt/trm-deploy/bin/python -m pip install --no-cache-dir 'cuda-python>=12.6,<13' \
    && cp /src/docker/container.sh /usr/local/bin/ \
    && container.sh check \
    && rm -rf /src \
    && useradd --uid 10001 --create-home --groups video trm
ENV PATH=/opt/trm-deploy/bin:$PATH PYTHONUNBUFFERED=1
USER 10001
WORKDIR /models
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD ["container.sh", "health"]
ENTRYPOINT ["container.sh"]
CMD ["serve"]
