"""Which of the shipped models a run takes where none is named: the one whose task its puzzles are of."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence

from trm_deploy import puzzles
from trm_deploy.artefacts import shipped
from trm_deploy.artefacts.shipped import ShippedModel
from trm_deploy.errors import InputError
from trm_deploy.puzzles.maze import SIDES
from trm_deploy.puzzles.recognizing import Recognized, recognize

# Recipes that train on puzzles for which nothing is shipped.
RECIPES = {("sudoku", 4): "sudoku-4x4", ("sudoku", 6): "sudoku-6x6-trm-mlp", ("sudoku", 9): "sudoku"}


def choose(names: Sequence[str], *, input_format: str | None = None, column: str | None = None) -> ShippedModel:
    """The shipped model whose task the puzzles are of; the first where that cannot be told.

    Args:
        names: files, "-" for standard input, or puzzles themselves.
        input_format, column: see `trm_deploy.puzzles.text.read`.

    Raises:
        InputError: puzzles for which no model is shipped, or which need different ones.
    """
    models = {model.task: model for model in shipped.models()}
    tasks = [puzzles.get(task) for task in models]
    chosen: dict[str, str] = {}  # a name for each task
    for name in names:
        found = recognize(name, tasks, input_format=input_format, column=column)
        if found.task is None and found.kind is not None:
            raise InputError(
                f"{_place(name)}: holds {found.to_text()}, for which no model is shipped (shipped:"
                f" {', '.join(f'{model.name} for {task}' for task, model in models.items())})",
                hint=f"name one of your own with --engine FILE{_training(found, name)}",
            )
        if found.task is not None:
            chosen.setdefault(found.task.name, name)
    if len(chosen) > 1:
        holds = ", ".join(f"{_place(name)} is for {task}" for task, name in chosen.items())
        raise InputError(f"these puzzles need different models: {holds}", hint="run them one after the other")
    return models[next(iter(chosen), next(iter(models)))]


def _place(name: str) -> str:
    if name == "-":
        return "standard input"
    return name if os.path.exists(name) else "argument"


def _training(found: Recognized, name: str) -> str:
    """How to train such a model, as the end of a hint; empty where there is no such task."""
    if found.kind == "arc":
        return f", or train one: trm-deploy data build arc --challenges {_place(name)}"
    if found.kind == "sudoku":
        recipe = RECIPES.get(("sudoku", found.rows))
        return "" if recipe is None else f", or train one: trm-deploy train {recipe}"
    rows, columns = found.rows or math.isqrt(found.cells), found.columns or math.isqrt(found.cells)
    if rows not in SIDES or columns not in SIDES or (found.cells and rows * columns != found.cells):
        return ""
    return f", or train one: trm-deploy data build maze --size {rows}x{columns}"
