"""The named settings at the published sizes; keyword arguments change any part of them.

trm-mlp   TRM with MLP mixing
trm-att   TRM with attention and rotary positions
trm       whichever of the two suits the task, see `preset`
hrm       HRM
"""

from __future__ import annotations

from typing import Any

from trm_deploy.errors import SpecError
from trm_deploy.spec import Architecture, Halting, ModelSpec, Recursion, TaskSpec
from trm_deploy.support.plain import from_plain

# Published TRM (arXiv 2510.04871, section 5): D = 512, 2 layers, n = 6, T = 3, 16 prefix tokens, N_sup = 16.
PRESETS: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "trm-mlp": (
        {"hidden_size": 512, "mixer": "mlp", "positions": "none", "prefix_length": 16, "puzzle_embedding_size": 512},
        {"latent": 6, "deep": 3},
        {},
    ),
    "trm-att": (
        {
            "hidden_size": 512,
            "mixer": "attention",
            "heads": 8,
            "positions": "rotary",
            "prefix_length": 16,
            "puzzle_embedding_size": 512,
        },
        {"latent": 4, "deep": 3},
        {},
    ),
    # Published HRM (arXiv 2506.21734): D = 512, f_L and f_H of 4 layers each, n = 2, T = 2, N_sup = 16.
    "hrm": (
        {
            "hidden_size": 512,
            "layers": 4,
            "networks": "separate",
            "mixer": "attention",
            "heads": 8,
            "positions": "rotary",
            "prefix_length": 1,
            "puzzle_embedding_size": 512,
        },
        {"latent": 2, "deep": 2},
        {"rule": "halt-continue"},
    ),
}
NAMES = ("trm", *PRESETS)


def preset(
    name: str,
    task: TaskSpec,
    *,
    architecture: dict[str, Any] | None = None,
    recursion: dict[str, Any] | None = None,
    halting: dict[str, Any] | None = None,
) -> ModelSpec:
    """The spec of a preset for a task.

    The preset `trm` is `trm-mlp` or `trm-att` by the mixer that `architecture` names. Where it names none, the MLP
    mixes while L <= D, and attention beyond: an MLP over positions has weights in proportion to L (TRM, arXiv
    2510.04871, section 4.5). The spec itself always says which.

    Args:
        name: one of `NAMES`.
        task: what the tokens mean.
        architecture, recursion, halting: fields to change.

    Raises:
        SpecError: an unknown preset, or settings that contradict each other.
    """
    if name not in NAMES:
        raise SpecError(f"the preset {name!r} is unknown, expected one of {', '.join(NAMES)}")
    if name == "trm":
        name = _trm_by_size(task.sequence_length, architecture or {})
    base_architecture, base_recursion, base_halting = PRESETS[name]
    return ModelSpec(
        task=task,
        architecture=from_plain(Architecture, {**base_architecture, **(architecture or {})}, "architecture"),
        recursion=from_plain(Recursion, {**base_recursion, **(recursion or {})}, "recursion"),
        halting=from_plain(Halting, {**base_halting, **(halting or {})}, "halting"),
    )


def _trm_by_size(length: int, architecture: dict[str, Any]) -> str:
    """The preset that `trm` means for a sequence of L tokens."""
    width = architecture.get("hidden_size", PRESETS["trm-mlp"][0]["hidden_size"])
    short = isinstance(width, int) and length <= width  # anything but a number is refused with the spec
    mixer = architecture.get("mixer", "mlp" if short else "attention")
    return "trm-att" if mixer == "attention" else "trm-mlp"
