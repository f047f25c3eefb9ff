"""A training recipe: one TOML file that says everything a run depends on."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, field, fields, replace
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from trm_deploy.errors import RecipeError, SpecError
from trm_deploy.models.presets import preset
from trm_deploy.puzzles.base import Puzzle
from trm_deploy.spec import ModelSpec, TaskSpec
from trm_deploy.support.plain import from_plain
from trm_deploy.train.data.settings import MAX_PUZZLES, DataSection, DatasetFolder, GeneratedPuzzles

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


Gradient = Literal["full", "one-step", "whole"]
Loss = Literal["softmax", "stablemax"]
InitialState = Literal["fixed", "learned", "zero"]

MAX_TEXT = 1 << 20  # the shipped ones have under 2,000
MAX_BATCH_STATE = 1 << 32  # values of y and z in all persistent batches: 16 GiB in float32


def _check(condition: bool, message: str) -> None:
    if not condition:
        raise RecipeError(message)


@dataclass(frozen=True, kw_only=True)
class ModelSection:
    """The model: a preset and what differs from it, by the keys of `Architecture`, `Recursion` and `Halting`."""

    preset: str
    architecture: dict[str, Any] = field(default_factory=dict)
    recursion: dict[str, Any] = field(default_factory=dict)
    halting: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class OptimizerSection:
    """The optimiser and its schedule.

    Attributes:
        name: ``adamw``, or ``adam-atan2`` (arXiv 2407.05872), which the published code uses.
        learning_rate: peak; dimensionless.
        weight_decay: decoupled, of matrices only.
        puzzle_learning_rate: peak of sign-SGD, which trains the puzzle embeddings apart, row by row; None where they
            are trained with the rest.
        puzzle_weight_decay: decoupled, of the rows in the batch.
        betas: of the two moving averages.
        warmup_steps: optimiser steps of linear warm-up.
        decay_share: share of the run, at its end, over which the learning rate falls linearly to zero.
        clip_norm: largest gradient norm; 0 does not clip.
    """

    name: Literal["adamw", "adam-atan2"] = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 0.1
    puzzle_learning_rate: float | None = None
    puzzle_weight_decay: float = 0.1
    betas: tuple[float, ...] = (0.9, 0.95)
    warmup_steps: int = 100
    decay_share: float = 0.5
    clip_norm: float = 1.0

    def __post_init__(self) -> None:
        _check(self.learning_rate > 0, f"optimizer.learning_rate is {self.learning_rate}, expected above 0")
        _check(self.weight_decay >= 0, f"optimizer.weight_decay is {self.weight_decay}, expected 0 or more")
        rate, decay = self.puzzle_learning_rate, self.puzzle_weight_decay
        _check(rate is None or rate > 0, f"optimizer.puzzle_learning_rate is {rate}, expected above 0")
        _check(decay >= 0, f"optimizer.puzzle_weight_decay is {decay}, expected 0 or more")
        valid = len(self.betas) == 2 and all(0 <= beta < 1 for beta in self.betas)
        _check(valid, f"optimizer.betas is {list(self.betas)}, expected two numbers from 0 up to 1")
        _check(self.warmup_steps >= 0, f"optimizer.warmup_steps is {self.warmup_steps}, expected 0 or more")
        _check(0 <= self.decay_share <= 1, f"optimizer.decay_share is {self.decay_share}, expected 0 to 1")
        _check(self.clip_norm >= 0, f"optimizer.clip_norm is {self.clip_norm}, expected 0 or more")

    def learning_rate_factor(self, step: int, steps: int, done: float = 0.0) -> float:
        """Share of the peak learning rate at optimiser step `step` (from 0) of `steps`.

        Args:
            step, steps: how far the run is by optimiser steps.
            done: share of the run that is over by another measure, 0 to 1; the larger one counts.
        """
        warm = (step + 1) / (self.warmup_steps + 1)
        cool = min(steps - step, (1 - done) * steps) / max(self.decay_share * steps, 1)
        return min(1.0, warm, cool)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A stage of the depth curriculum: shallow recursion is cheap while there is little to recurse on.

    The idea is CGAR's (arXiv 2511.08653).

    Attributes:
        until: share of the run at which the stage ends, 0 to 1.
        deep: T, latent recursions in a supervision step.
    """

    until: float
    deep: int

    def __post_init__(self) -> None:
        _check(0 < self.until <= 1, f"training.curriculum: until is {self.until}, expected above 0 and up to 1")
        _check(self.deep >= 1, f"training.curriculum: deep is {self.deep}, expected at least 1")


@dataclass(frozen=True, kw_only=True)
class TrainingSection:
    """The run.

    Attributes:
        steps: optimiser steps; each is one supervision step of the whole batch.
        minutes: wall-clock time after which the run ends, and to which curriculum and learning rate keep, where the
            steps are not done sooner; 0 counts steps alone. With it, two runs are not the same bit for bit.
        batch_size: samples in the persistent batch, over all processes together.
        rotation: persistent batches that take turns. With one, a sample's supervision steps are successive updates of
            the weights, and a small batch is learned by heart on its way; with more, other samples come between.
        seed: of weights, puzzle order, symmetries and exploration.
        ema: decay of the moving average of the weights, per optimiser step; 0 is off: the weights as they are.
        exploration: probability that a step may not halt before a random step (HRM, section 2).
        halting_weight: weight of the halting loss beside the answer's. The loss follows from the model's halting rule:
            for ``halt`` binary cross entropy (TRM), for ``halt-continue`` Q-learning (HRM).
        gradient: how far back it flows in a supervision step: ``full``: through the last latent recursion (TRM);
            ``one-step``: through the last update of z and of y (HRM); ``whole``: through all T latent recursions.
        loss: of the answer: cross entropy after ``softmax`` or after ``stablemax``.
        initial_state: how y and z start: from random constants (``fixed``, as published), from trained vectors
            (``learned``), or from zeros (``zero``).
        curriculum: stages of other T than the model's, in order; after the last one T is the model's.
        precision: of the network's matrix products: ``fp32``, or ``bf16`` by autocast.
        device: ``cpu``, or ``cuda`` for an NVIDIA GPU; the flag ``--device`` overrides it.
        compile: compile the supervision step with torch.compile, on a GPU its networks alone (minutes of a long run
            are won, one is lost).
        log_every: optimiser steps between lines of metrics.
        checkpoint_every: optimiser steps between checkpoints.
    """

    steps: int
    minutes: float = 0.0
    batch_size: int = 128
    rotation: int = 1
    seed: int = 0
    ema: float = 0.999
    exploration: float = 0.1
    halting_weight: float = 0.5
    gradient: Gradient = "full"
    loss: Loss = "softmax"
    initial_state: InitialState = "fixed"
    curriculum: tuple[Stage, ...] = ()
    precision: Literal["fp32", "bf16"] = "bf16"
    device: Literal["cpu", "cuda"] = "cpu"
    compile: bool = False
    log_every: int = 50
    checkpoint_every: int = 250

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "rotation", "log_every", "checkpoint_every"):
            _check(getattr(self, name) > 0, f"training.{name} is {getattr(self, name)}, expected at least 1")
        _check(0 <= self.minutes < math.inf, f"training.minutes is {self.minutes}, expected 0 or more")
        _check(self.seed >= 0, f"training.seed is {self.seed}, expected 0 or more")
        _check(0 <= self.ema < 1, f"training.ema is {self.ema}, expected 0 up to 1")
        _check(0 <= self.exploration <= 1, f"training.exploration is {self.exploration}, expected 0 to 1")
        ends = [stage.until for stage in self.curriculum]
        _check(ends == sorted(set(ends)), f"training.curriculum ends its stages at {ends}, expected rising shares")
        _check(self.halting_weight >= 0, f"training.halting_weight is {self.halting_weight}, expected 0 or more")
        _check(
            self.initial_state != "learned" or self.gradient == "whole",
            f"training.initial_state is 'learned' with training.gradient = {self.gradient!r}, expected 'whole':"
            " no other gradient reaches the start",
        )


@dataclass(frozen=True, kw_only=True)
class EvaluationSection:
    """Evaluation of the averaged weights on puzzles kept out of training.

    Attributes:
        puzzles: their number: generated like the training puzzles under another seed, or drawn from the dataset's test
            split, of which there may be fewer.
        every: optimiser steps between evaluations; the last step always evaluates.
    """

    puzzles: int = 256
    every: int = 500

    def __post_init__(self) -> None:
        _check(
            0 < self.puzzles <= MAX_PUZZLES,
            f"evaluation.puzzles is {self.puzzles}, expected at least 1 and at most {MAX_PUZZLES}",
        )
        _check(self.every > 0, f"evaluation.every is {self.every}, expected at least 1")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything a run depends on; `text` is the TOML it came from."""

    data: DataSection
    model: ModelSection
    optimizer: OptimizerSection
    training: TrainingSection
    evaluation: EvaluationSection = field(default_factory=EvaluationSection)
    text: str = ""

    @property
    def puzzle(self) -> Puzzle:
        """The task that the data are of."""
        return self.data.puzzle

    @property
    def spec(self) -> ModelSpec:
        """The model's specification where puzzles are not told apart."""
        return self.spec_for(1)

    def spec_for(self, puzzle_identifiers: int) -> ModelSpec:
        """The model's specification for data with that many puzzle identifiers.

        Raises:
            RecipeError: the puzzle embeddings need a learning rate of their own, or have one and do not exist.
            SpecError: settings that contradict each other.
        """
        puzzle = self.puzzle
        task = TaskSpec(
            name=puzzle.name,
            sequence_length=puzzle.cells,
            vocabulary=puzzle.vocabulary,
            puzzle_identifiers=puzzle_identifiers,
        )
        spec = preset(
            self.model.preset,
            task,
            architecture=self.model.architecture,
            recursion=self.model.recursion,
            halting=self.model.halting,
        )
        apart, width = self.optimizer.puzzle_learning_rate is not None, spec.architecture.puzzle_embedding_size
        samples = self.training.batch_size * self.training.rotation
        values = 2 * samples * spec.positions * spec.architecture.hidden_size
        _check(
            values <= MAX_BATCH_STATE,
            f"training.batch_size is {self.training.batch_size} with training.rotation = {self.training.rotation}:"
            f" a state of {values:,} values, expected at most {MAX_BATCH_STATE:,}",
        )
        _check(
            apart or not width or puzzle_identifiers == 1,
            f"optimizer.puzzle_learning_rate is missing, and the data tell {puzzle_identifiers} puzzles apart;"
            " expected a number, published 1e-2 for ARC",
        )
        _check(
            bool(width) or not apart,
            "optimizer.puzzle_learning_rate is set, and the model has no puzzle embeddings"
            " (architecture.puzzle_embedding_size is 0)",
        )
        return spec

    def with_flags(self, *, data: str | None, device: Literal["cpu", "cuda"] | None) -> Recipe:
        """The recipe with what the command line overrides.

        Raises:
            RecipeError: `data` is a dataset's folder, and the recipe makes its own puzzles.
        """
        recipe = self
        if device is not None:
            recipe = replace(recipe, training=replace(recipe.training, device=device))
        if data is not None:
            if not isinstance(recipe.data, DatasetFolder):
                raise RecipeError(
                    "--data names a dataset, and the recipe makes its own puzzles",
                    hint='leave out --data, or say data = { task = "..." } in a copy of the recipe',
                )
            recipe = replace(recipe, data=replace(recipe.data, folder=data))
        return recipe


def shipped() -> dict[str, str]:
    """Name -> TOML text of the recipes that come with the package."""
    folder = resources.files("trm_deploy.train") / "recipes"
    return {
        entry.name.removesuffix(".toml"): entry.read_text("utf-8")
        for entry in sorted(folder.iterdir(), key=lambda entry: entry.name)
        if entry.name.endswith(".toml")
    }


def parse(text: str, *, source: str) -> Recipe:
    """Read a recipe's TOML text.

    Raises:
        RecipeError: malformed TOML, an unknown or missing key, a value out of range.
    """
    if len(text) > MAX_TEXT:
        raise RecipeError(f"{source}: has {len(text):,} characters, expected at most {MAX_TEXT:,}")
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # TOMLDecodeError, and what a number of 5,000 digits raises
        raise RecipeError(f"{source}: is not valid TOML ({error})") from error
    if "text" in document:
        raise RecipeError(f"{source}: has the unknown key 'text'")
    try:
        if isinstance(document.get("data"), dict):
            document["data"] = _data(document["data"])
        recipe = from_plain(Recipe, {**document, "text": text}, "recipe")
        _ = recipe.spec
    except (SpecError, RecipeError) as error:
        raise RecipeError(f"{source}: {error}") from error
    return recipe


def _data(section: dict[str, Any]) -> DataSection:
    """The section `[data]`: a dataset where it has a key of one, else the settings of the generator."""
    if section.keys() & {spec_field.name for spec_field in fields(DatasetFolder)}:
        return from_plain(DatasetFolder, section, "recipe.data")
    return from_plain(GeneratedPuzzles, section, "recipe.data")


def load(name: str) -> Recipe:
    """A shipped recipe by name, or one from a TOML file by path.

    Raises:
        RecipeError: no such recipe or file, or one that cannot be read.
    """
    recipes = shipped()
    if name in recipes:
        return parse(recipes[name], source=f"recipe {name}")
    path = Path(name)
    if not path.is_file():
        raise RecipeError(
            f"{name}: no recipe or file has that name, expected one of {', '.join(recipes)} or a TOML file"
        )
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: cannot be read ({error})") from error
    return parse(text, source=str(path))
