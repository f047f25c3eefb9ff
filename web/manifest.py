"""What the page has to know of the models that it offers: `models.json`."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from trm_deploy import __version__, puzzles
from trm_deploy.artefacts import onnx_file, record
from trm_deploy.artefacts.record import RecordedSchedule
from trm_deploy.errors import InputError
from trm_deploy.puzzles.base import Puzzle
from trm_deploy.puzzles.maze import Maze
from trm_deploy.spec import ModelSpec

NAME = "models.json"
SCHEMA = 1
# The forms are those of attempts with this seed, the default of `run`.
SEED = 0
EXAMPLES = 6
MOST_FORMS = 255  # more would make the document large


def manifest(models: Sequence[Path], *, runtime: dict[str, Any] | None = None) -> dict[str, Any]:
    """The document that the page reads first.

    Args:
        models: step files; a page computes supervision steps one by one.
        runtime: where the page finds ONNX Runtime Web, see `tools/build_web.py`; None where it computes on a server.

    Raises:
        InputError: a file that is no step form, whose state is not float32, or of a task without rules.
        ArtefactError: a file that cannot be read.
    """
    return {
        "schema": SCHEMA,
        "version": __version__,
        "runtime": runtime,
        "models": [_model(path) for path in models],
    }


def served(models: Sequence[dict[str, Any]], folder: Path, stream: str) -> dict[str, Any]:
    """The document of a page whose server computes too.

    Args:
        models: what the server has, each as `describe` gives it.
        folder: of the page; what `make web` put there is offered as well.
        stream: where the server takes puzzles, relative to the page.

    Raises:
        InputError: the folder's own `models.json` is not one.
    """
    path = folder / NAME
    document = manifest([])
    if path.is_file():
        try:
            document = json.loads(path.read_bytes())
        except ValueError as error:
            raise InputError(f"{path}: is not valid JSON ({error})", hint="type: make web") from error
        if not isinstance(document, dict) or document.get("schema") != SCHEMA:
            raise InputError(f"{path}: is not of schema {SCHEMA}, the one of this version", hint="type: make web")
    return {**document, "server": {"stream": stream, "models": list(models)}}


def describe(
    puzzle: Puzzle,
    spec: ModelSpec,
    *,
    name: str,
    precision: str,
    schedule: RecordedSchedule,
    halt_threshold: float,
    seed: int = SEED,
) -> dict[str, Any]:
    """What the page has to know of a model.

    Args:
        puzzle: its task.
        spec: what it is.
        name: under which it is known.
        precision: of its weights.
        schedule: how puzzles are tried.
        halt_threshold: an attempt ends when its halting logit exceeds it.
        seed: of the symmetric forms.
    """
    y, z = spec.state_shapes
    return {
        "task": puzzle.name,
        "name": name,
        "file": None,
        "cells": puzzle.cells,
        "bytes": 0,
        "sha256": "",
        "precision": precision,
        "parameters": spec.parameters,
        "puzzle_ids": spec.task.puzzle_identifiers > 1,
        "vocabulary": len(puzzle.vocabulary),
        "state": {"y": list(y), "z": list(z)},
        "halt_threshold": halt_threshold,
        "attempts": schedule.attempts,
        "attempt_steps": list(schedule.attempt_steps),
        "budget": schedule.budget,
        "forms": _forms(puzzle, min(schedule.attempts - 1, MOST_FORMS), seed),
        "examples": _examples(puzzle),
    }


def _model(path: Path) -> dict[str, Any]:
    found = onnx_file.read(path)
    if found.graph != "step":
        raise InputError(
            f"{path}: is the {found.graph} form, expected the step form, which the page computes one step at a time",
            hint="type: trm-deploy export CHECKPOINT --graph step",
        )
    if found.precision not in ("fp32", "int8"):
        raise InputError(f"{path}: is {found.precision}, expected fp32 or int8, whose state a browser can hold")
    puzzle = puzzles.get(found.spec.task.name)
    if not puzzle.has_rules:
        raise InputError(f"{path}: {puzzle.name} has no rules that verify an answer")
    data = path.read_bytes()
    about = describe(
        puzzle,
        found.spec,
        name=path.stem,
        precision=found.precision,
        schedule=record.default_schedule(record.read_matching(path), found.spec.halting.max_steps),
        halt_threshold=record.halting_threshold(None, path, found.spec),
    )
    return {**about, "file": path.name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _forms(puzzle: Puzzle, count: int, seed: int) -> list[dict[str, list[int]]]:
    """The symmetric forms of the attempts after the first, as `run` tries them."""
    return [
        {"cells": form.cells[0].tolist(), "symbols": form.symbols[0].tolist()}
        for form in itertools.islice(puzzle.further_forms(seed), count)
    ]


def _examples(puzzle: Puzzle) -> list[dict[str, Any]]:
    """Puzzles by grade: the page's own, else the task's; of mazes of other sizes none, since the page makes them."""
    own = json.loads((resources.files("trm_deploy.web") / "examples.json").read_text("utf-8"))
    if puzzle.name in own:
        return list(own[puzzle.name])
    if isinstance(puzzle, Maze):
        return []
    return [{"grade": "Examples", "puzzles": [puzzle.text(tokens) for tokens in puzzle.examples()[:EXAMPLES]]}]
