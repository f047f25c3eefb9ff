"""Whether an engine is of the checkpoint's model; where it is not, what differs: a setting, or the model."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from trm_deploy.artefacts import record
from trm_deploy.checkpoints import Checkpoint
from trm_deploy.errors import ArtefactError, shown
from trm_deploy.spec import ModelSpec

# What no weight shows, by its published name: two exports of one checkpoint may differ in it.
SETTINGS = {
    "recursion.latent": "arch.L_cycles",
    "recursion.deep": "arch.H_cycles",
    "halting.max_steps": "arch.halt_max_steps",
    "halting.rule": "arch.no_ACT_continue",
    "architecture.heads": "arch.num_heads",
    "architecture.positions": "arch.pos_encodings",
    "architecture.prefix_length": "arch.puzzle_emb_len",
    "architecture.expansion": "arch.expansion",
    "architecture.rms_norm_eps": "arch.rms_norm_eps",
    "architecture.rope_theta": "arch.rope_theta",
    "task.sequence_length": "seq_len",
    "task.name": "task",
    "task.vocabulary": "task",
}


def require_same_model(path: Path, spec: ModelSpec, loaded: Checkpoint) -> None:
    """Refuse an engine of another model, or of the same one with other settings.

    Args:
        path: the engine.
        spec: the engine's.
        loaded: the checkpoint.

    Raises:
        ArtefactError: naming what differs, with both values.
    """
    if loaded.spec.model_json() == spec.model_json():
        return
    differences = dict(_differences(spec, loaded.spec))
    if "task.name" in differences:
        differences.pop("task.vocabulary", None)  # it follows from the task
    listed = "; ".join(differences.values())
    if not differences.keys() <= SETTINGS.keys():
        raise ArtefactError(f"{path}: is of another model than the checkpoint: {listed}", hint=_same_flags(loaded))
    built = record.read(path) if path.is_file() else None
    given = () if built is None else built.overrides
    exported = f" (exported with --set {' --set '.join(given)})" if given else ""
    hint = _same_flags(loaded) or "export the checkpoint again"
    if given and given != loaded.overrides:
        hint = f"to compare it as it was exported, give parity --set {' --set '.join(given)}; or export again"
    raise ArtefactError(f"{path}: has other settings than the checkpoint: {listed}{exported}", hint=hint)


def _same_flags(loaded: Checkpoint) -> str | None:
    """A checkpoint of ours says all of itself; of a published one, flags may."""
    return "give both the same --set flags, or export again" if loaded.settings else None


def _differences(theirs: ModelSpec, ours: ModelSpec) -> list[tuple[str, str]]:
    """Fields of the spec that differ, each with what to say of it; the threshold is none of the model."""
    found = []
    for part, values in dataclasses.asdict(theirs).items():
        expected = dataclasses.asdict(getattr(ours, part))
        for name, value in values.items():
            field = f"{part}.{name}"
            if value != expected[name] and field != "halting.threshold":
                also = f" ({SETTINGS[field]})" if field in SETTINGS else ""
                found.append((field, f"{field}{also} is {shown(value)}, the checkpoint's {shown(expected[name])}"))
    return found
