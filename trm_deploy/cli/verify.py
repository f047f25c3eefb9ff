"""`trm-deploy verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trm_deploy.cli.options import AllowHostCode, Device, Json, RuntimeOfKind
from trm_deploy.support.jsontext import dumps


def verify(
    artefact: Annotated[
        Path,
        typer.Argument(
            metavar="ENGINE", help="ONNX file or TensorRT plan, its .golden.npz beside it; or a shipped model's name."
        ),
    ],
    runtime: RuntimeOfKind = None,
    device: Device = "cpu",
    allow_host_code: AllowHostCode = False,
    as_json: Json = False,
) -> None:
    """Replay what PyTorch computed when a file was exported, without PyTorch; exit code 3 if it differs."""
    from trm_deploy import api
    from trm_deploy.evaluation.verify import table

    found = api.verify(artefact, runtime=runtime, device=device, allow_host_code=allow_host_code)
    print(dumps(found.to_plain(), indent=2) if as_json else table(found), flush=True)
    found.raise_if_failed()
