"""What an export needs of the one who compares its result with PyTorch: the layer above brings it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:  # it brings PyTorch, which building an engine from an ONNX file does without
    from trm_deploy.checkpoints.base import Checkpoint

log = logging.getLogger(__name__)


class Check(Protocol):
    """Compares an artefact with the checkpoint that it was made from."""

    def __call__(self, checkpoint: Checkpoint, artefact: Path, name: str, /) -> Mapping[str, Any]:
        """Compare them.

        Args:
            checkpoint: the reference.
            artefact: the file, which is not in its place yet.
            name: what to call it in messages.

        Returns:
            The entry `parity` of the build record: plain values, with `puzzles` and `largest_logit_difference`.

        Raises:
            ParityFailure: the artefact does not compute what PyTorch computes.
        """


def announce(name: str, parity: Mapping[str, Any]) -> None:
    """Log a comparison that has passed, in one line."""
    largest = parity.get("largest_logit_difference")
    differ = "" if largest is None else f", teacher-forced logits within {largest:.2g} of PyTorch's"
    log.info("%s: parity holds on %s puzzles%s", name, parity.get("puzzles"), differ)
