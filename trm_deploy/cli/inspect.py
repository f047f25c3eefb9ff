"""`trm-deploy inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trm_deploy.cli.options import (
    Json,
    Settings,
    print_document,
)


def inspect(
    artefact: Annotated[Path, typer.Argument(help="A checkpoint, an ONNX file or a plan.")],
    settings: Settings = None,
    as_json: Json = False,
) -> None:
    """Say what an artefact is."""
    from trm_deploy.inspection.artefact import inspect

    print_document(inspect(artefact, settings or ()), as_json)
