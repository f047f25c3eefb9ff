# trm-deploy on a CPU: serves the shipped model, or what is mounted. No PyTorch in it.
#
#     docker build -f docker/cpu.Dockerfile -t trm-deploy .
#     docker run --rm -p 8080:8080 -e TRM_DEPLOY_TOKEN -v "$PWD/models:/models:ro" trm-deploy serve --engine model.onnx
#     docker run --rm -v "$PWD:/models:ro" trm-deploy run puzzles.csv
FROM python:3.12-slim-bookworm AS build
COPY . /src
RUN /src/docker/container.sh install /src onnx,serve

FROM python:3.12-slim-bookworm
COPY --from=build /opt/trm-deploy /opt/trm-deploy
COPY docker/container.sh /usr/local/bin/container.sh
RUN useradd --uid 10001 --create-home trm && container.sh check
ENV PATH=/opt/trm-deploy/bin:$PATH PYTHONUNBUFFERED=1
USER 10001
WORKDIR /models
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["container.sh", "health"]
ENTRYPOINT ["container.sh"]
CMD ["serve"]
