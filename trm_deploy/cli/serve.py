"""`trm-deploy serve`."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Annotated, Optional

import typer

from trm_deploy.cli import messages
from trm_deploy.cli.options import (
    AllowHostCode,
    Attempts,
    AttemptSteps,
    Batch,
    Budget,
    Compile,
    Device,
    HaltThreshold,
    InFlight,
    Overrides,
    Runtime,
    Seed,
    Speculate,
    TorchPrecision,
)
from trm_deploy.cli.values import one_of, real, whole
from trm_deploy.errors import require

log = logging.getLogger(__name__)


def serve(
    engine: Annotated[
        Optional[list[str]],
        typer.Option(
            "-e",
            "--engine",
            metavar="[NAME=]FILE",
            help="ONNX file, TensorRT plan or checkpoint, and the name that clients know it by; repeatable.",
            show_default="the model shipped with the package, sudoku",
        ),
    ] = None,
    host: Annotated[str, typer.Option("--host", metavar="ADDRESS", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", **whole(0, 65535), help="Port to listen on; 0: one that is free.")
    ] = 8080,
    token_file: Annotated[
        Optional[Path],
        typer.Option(
            "--token-file",
            metavar="FILE",
            help="File with a token that requests must bring; without it, only this machine is served.",
        ),
    ] = None,
    queue: Annotated[
        int, typer.Option("--queue", **whole(1), help="Maximum number of puzzles that wait for a slot.")
    ] = 1024,
    max_puzzles: Annotated[
        int, typer.Option("--max-puzzles", **whole(1), help="Maximum number of puzzles in a request.")
    ] = 1024,
    max_body: Annotated[
        int, typer.Option("--max-body", **whole(1), help="Maximum size of a request in bytes.")
    ] = 1_048_576,
    deadline: Annotated[
        float, typer.Option("--deadline", **real(0.1), help="Seconds after which a request is given up.")
    ] = 300.0,
    web: Annotated[
        Optional[Path],
        typer.Option(
            "--web",
            metavar="FOLDER",
            help="Folder with a page to serve at /.",
            show_default="the playground, where it is installed",
        ),
    ] = None,
    log_format: Annotated[
        Optional[str],
        typer.Option(
            "--log-format",
            **one_of(("text", "json")),
            help="How to log requests, on standard error.",
            show_default="text on a terminal, else json",
        ),
    ] = None,
    batch: Batch = None,
    attempts: Attempts = None,
    attempt_steps: AttemptSteps = None,
    budget: Budget = None,
    halt_threshold: HaltThreshold = None,
    in_flight: InFlight = None,
    speculate: Speculate = None,
    seed: Seed = 0,
    device: Device = "cpu",
    precision: TorchPrecision = None,
    compiled: Compile = False,
    runtime: Runtime = None,
    overrides: Overrides = None,
    allow_host_code: AllowHostCode = False,
) -> None:
    """Serve models over HTTP: /solve, and the Open Inference Protocol at /v2."""
    for package in ("fastapi", "uvicorn", "prometheus_client"):
        require(package, extra="serve", purpose="to serve")
    from trm_deploy.artefacts import shipped
    from trm_deploy.runtimes.solving.session import SolveOptions, open_session
    from trm_deploy.serving import access, server
    from trm_deploy.serving.app import make_app
    from trm_deploy.serving.logs import JsonLines
    from trm_deploy.serving.models import ServedModel
    from trm_deploy.serving.service import Limits

    named: dict[str, Optional[str]] = {shipped.listed()[0]: None}
    if engine:
        named = {**server.names_of(engine)}
    token = None if token_file is None else access.read_token(token_file)
    page = server.page(web)
    with access.bind(host, port, has_token=token is not None) as bound:
        as_json = log_format == "json" or (log_format is None and not sys.stderr.isatty())
        messages.show_also("uvicorn", JsonLines() if as_json else None)
        options = SolveOptions(
            attempts=attempts,
            attempt_steps=attempt_steps,
            budget=budget,
            speculate=speculate,
            halt_threshold=halt_threshold,
            batch_size=batch,
            in_flight=in_flight,
            seed=seed,
        )
        models = {}
        for name, file in named.items():
            session = open_session(
                None if file is None else Path(file),
                device=device,
                allow_host_code=allow_host_code,
                precision=precision,
                compiled=compiled,
                overrides=overrides or (),
                runtime=runtime,
            )
            models[name] = ServedModel(name, session, options, queue=queue)
            log.info(
                "%s: %s, %s, %d slots",
                name,
                session.puzzle.name,
                session.runtime.description,
                models[name].engine.slots,
            )
        app = make_app(models, Limits(max_body, max_puzzles, deadline), token=token, web=page)
        server.run(app, bound, models, deadline=deadline)
