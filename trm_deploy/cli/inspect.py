"""`trm-deploy inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trm_deploy.cli.options import (
    Json,
    Overrides,
    print_document,
)


def inspect(
    artefact: Annotated[
        Path, typer.Argument(metavar="FILE", help="Checkpoint, ONNX file or TensorRT plan; or a shipped model's name.")
    ],
    overrides: Overrides = None,
    as_json: Json = False,
) -> None:
    """Describe a checkpoint, ONNX file or TensorRT plan."""
    from trm_deploy import api

    print_document(api.inspect(artefact, overrides or ()), as_json)
