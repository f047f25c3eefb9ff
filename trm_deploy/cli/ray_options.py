"""The options of `trm-deploy run` that are about a Ray cluster."""

from __future__ import annotations

from typing import Annotated, Optional

import typer

from trm_deploy.cli.values import real, whole

Ray = Annotated[
    Optional[str],
    typer.Option(
        "--ray",
        metavar="ADDRESS",
        help="Solve on a Ray cluster: HOST:PORT of its head, auto for the cluster of this machine, or local for one"
        " process per core of this machine.",
    ),
]
Actors = Annotated[
    Optional[int],
    typer.Option(
        "--actors",
        **whole(1),
        help="Maximum number of processes on the Ray cluster, each with one CPU.",
        show_default="as many as it has room for",
    ),
]
GpusPerActor = Annotated[
    Optional[float],
    typer.Option(
        "--gpus-per-actor",
        **real(0),
        help="GPUs of each process on the Ray cluster; 0.5: two share one.",
        show_default="1 for an engine or --device cuda, else 0",
    ),
]
