"""What an export needs of the one who compares its result with PyTorch: the layer above brings it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from trm_deploy.artefacts.golden import GoldenVectors

if TYPE_CHECKING:  # it brings PyTorch, which building an engine from an ONNX file does without
    from trm_deploy.checkpoints.base import Checkpoint

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checked:
    """What a comparison that has passed leaves beside the artefact.

    Attributes:
        parity: the entry `parity` of the build record: plain values, with `puzzles` and `largest_logit_difference`.
        golden: what PyTorch computed, for `trm-deploy verify`; None: no golden vectors are written.
    """

    parity: Mapping[str, Any]
    golden: GoldenVectors | None = None


class Check(Protocol):
    """Compares an artefact with the checkpoint that it was made from."""

    def __call__(self, checkpoint: Checkpoint, artefact: Path, name: str, /) -> Checked:
        """Compare them.

        Args:
            checkpoint: the reference.
            artefact: the file, which is not in its place yet.
            name: what to call it in messages.

        Raises:
            ParityFailure: the artefact does not compute what PyTorch computes.
        """


def announce(name: str, parity: Mapping[str, Any]) -> None:
    """Log a comparison that has passed, in one line."""
    largest = parity.get("largest_logit_difference")
    differ = "" if largest is None else f", teacher-forced logits within {largest:.2g} of PyTorch's"
    log.info("%s: parity holds on %s puzzles%s", name, parity.get("puzzles"), differ)
