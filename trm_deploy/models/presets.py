"""The named settings: `trm-mlp` and `trm-att`, at the published size; keyword arguments change any part of them."""

from __future__ import annotations

from typing import Any

from trm_deploy.errors import SpecError
from trm_deploy.spec import Architecture, Halting, ModelSpec, Recursion, TaskSpec, from_plain

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
}


def preset(
    name: str,
    task: TaskSpec,
    *,
    architecture: dict[str, Any] | None = None,
    recursion: dict[str, Any] | None = None,
    halting: dict[str, Any] | None = None,
) -> ModelSpec:
    """The spec of a preset for a task.

    Args:
        name: a key of `PRESETS`.
        task: what the tokens mean.
        architecture, recursion, halting: fields to change.

    Raises:
        SpecError: an unknown preset, or settings that contradict each other.
    """
    if name not in PRESETS:
        raise SpecError(f"the preset {name!r} is unknown, expected one of {', '.join(PRESETS)}")
    base_architecture, base_recursion, base_halting = PRESETS[name]
    return ModelSpec(
        task=task,
        architecture=from_plain(Architecture, {**base_architecture, **(architecture or {})}, "architecture"),
        recursion=from_plain(Recursion, {**base_recursion, **(recursion or {})}, "recursion"),
        halting=from_plain(Halting, {**base_halting, **(halting or {})}, "halting"),
    )
