"""The way from a source to an artefact, for any format."""

from __future__ import annotations

import importlib
from pathlib import Path

from trm_deploy.errors import require
from trm_deploy.export.check import Check
from trm_deploy.export.options import ExportOptions


def run_export(options: ExportOptions, *, check: Check) -> Path:
    """Make what the options say: an ONNX file, or an engine with the ONNX file that it was built from.

    Args:
        options: what to make; all that can be told from them alone is checked before anything is loaded.
        check: compares each artefact with its checkpoint before the artefact gets its name.

    Returns:
        The file that was written; `trm_deploy.artefacts.bundle` knows what is beside it.

    Raises:
        InputError: see `ExportOptions.check`.
        TrmDeployError: see `export_checkpoint` and `build_engine`.
    """
    options.check()
    if not options.from_onnx:
        for package in options.form.packages:
            extra = "safetensors" if package == "safetensors" else "export"
            require(package, extra=extra, purpose="to export from a checkpoint")
    module, _, function = options.form.builder.partition(":")
    output = options.artefact()
    getattr(importlib.import_module(module), function)(options, output, check)
    return output
