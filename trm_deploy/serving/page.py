"""What the playground has to know of the models that are served."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trm_deploy.artefacts.record import RecordedSchedule
from trm_deploy.serving.models import ServedModel
from trm_deploy.web import manifest

STREAM = "solve/stream"


def document(models: Mapping[str, ServedModel], folder: Path) -> dict[str, Any]:
    """The `models.json` of a page in a folder: what `make web` put there, and what this server computes.

    Raises:
        InputError: the folder's own `models.json` is not one.
    """
    return manifest.served([_described(model) for model in models.values() if _shows_steps(model)], folder, STREAM)


def _shows_steps(model: ServedModel) -> bool:
    """Whether the page can show its steps, and check its answers."""
    return model.session.puzzle.has_rules and model.session.runtime.fixed_steps is None


def _described(model: ServedModel) -> dict[str, Any]:
    session = model.session
    schedule = session.schedule(model.options)
    about = manifest.describe(
        session.puzzle,
        session.runtime.spec,
        name=model.name,
        precision=session.runtime.precision,
        schedule=RecordedSchedule(
            attempts=schedule.attempts, attempt_steps=schedule.attempt_steps, budget=schedule.budget
        ),
        halt_threshold=schedule.halt_threshold,
        seed=schedule.seed,
    )
    return {**about, "description": session.runtime.description}
