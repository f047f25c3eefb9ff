"""From any checkpoint to one of ours in safetensors: `--format safetensors`."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from trm_deploy import checkpoints, hub
from trm_deploy.artefacts import identifiers
from trm_deploy.checkpoints.base import first_difference
from trm_deploy.checkpoints.native import CONTRADICTIONS
from trm_deploy.errors import ParityFailure
from trm_deploy.export.check import Check
from trm_deploy.export.options import ExportOptions
from trm_deploy.export.source import identifiers_of, load_source
from trm_deploy.support.files import atomic_path, refuse_folder

log = logging.getLogger(__name__)


def build(options: ExportOptions, output: Path, check: Check) -> None:
    """Write the checkpoint with its spec inside, so that it needs no files beside it, and compare what is read back.

    Raises:
        TrmDeployError: see `trm_deploy.checkpoints.load`; or it cannot be written.
        ParityFailure: what was written is not read back bit for bit.
    """
    checkpoint = load_source(options.source, options.overrides)
    refuse_folder(output)
    names = identifiers_of(checkpoint, options.source, options.identifiers)
    training = {**checkpoint.training}
    if checkpoint.settings:
        training["checkpoint_sha256"] = checkpoint.sha256
    if (origin := hub.origin(checkpoints.locate(options.source), checkpoint.sha256)) is not None:
        training["checkpoint_source"] = str(origin)
    if checkpoint.contradictions:
        training[CONTRADICTIONS] = "; ".join(checkpoint.contradictions)
    with atomic_path(output) as temporary:
        checkpoints.save(temporary, replace(checkpoint, training=training), as_safetensors=True)
        if difference := first_difference(checkpoint, checkpoints.load(temporary)):
            raise ParityFailure(f"{output}: what is read back has {difference}")
    identifiers.write(output, names)
    beside = "" if names is None else f" and {identifiers.path_of(output)}"
    log.info("%s: every weight is read back bit for bit", output)
    log.info("wrote %s%s", output, beside)
