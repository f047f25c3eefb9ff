"""Runs version-compatible TensorRT plans with the lean runtime, all of TensorRT that a device needs for them."""

from __future__ import annotations

from pathlib import Path

from trm_deploy.runtimes.backends.trt.runtime import load_with
from trm_deploy.runtimes.base import LoadOptions
from trm_deploy.runtimes.graph_runtime import GraphRuntime
from trm_deploy.trt.flavours import LEAN


def load(path: Path, options: LoadOptions) -> GraphRuntime:
    """Load a plan; see `trm_deploy.runtimes.backends.trt.runtime.load`.

    Raises:
        ArtefactError: as there.
        CannotRunHere: as there, and where the plan's record does not say that it is version-compatible.
    """
    return load_with(LEAN, path, options)
