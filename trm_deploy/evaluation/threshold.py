"""The halting threshold in force where several files are run side by side: the flag's, else a record's, else the
model's own; for one file that is `record.halting_threshold`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from trm_deploy.artefacts import record
from trm_deploy.spec import ModelSpec

logger = logging.getLogger(__name__)


def threshold_in_force(flag: float | None, files: Sequence[Path], spec: ModelSpec) -> float:
    """The threshold at which all files are run.

    Args:
        flag: what --halt-threshold says; None where it is not given.
        files: artefacts in the order of the command line. The first build record beside one of them decides; where
            another one differs, a warning says so.
        spec: whose threshold holds without a record.

    Raises:
        ArtefactError: a record cannot be read, or is of other bytes than its artefact's.
    """
    if flag is not None:
        return flag
    found = {}
    for path in files:
        built = None if path.is_dir() else record.read_matching(path)
        if built is not None:
            found[record.path_of(path).name] = built.halting_threshold
    if not found:
        return spec.halting.threshold
    (name, threshold), *others = found.items()
    for other, differing in others:
        if differing != threshold:
            logger.warning(
                "%s has the halting threshold %g, %s has %g: all are run at %g; another one is --halt-threshold",
                name, threshold, other, differing, threshold,
            )  # fmt: skip
    return threshold
