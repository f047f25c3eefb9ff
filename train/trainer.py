"""Deep supervision on a persistent batch.

Each optimiser step is one supervision step of every sample in the batch. A sample that halts or has done N_sup
supervision steps leaves, and a fresh one takes its slot; the others carry their state y, z on, detached
(TRM, arXiv 2510.04871, figure 3; HRM, arXiv 2506.21734, section 2).

A run's folder holds:

    ema.pt         the checkpoint to export: averaged weights (see `trm_deploy.checkpoint`)
    resume.pt      all that resuming needs beyond it: raw weights, optimiser, random states, the batch
    metrics.jsonl  one line every `log_every` optimiser steps, and one for each evaluation
    curves.png     the same as a picture
    recipe.toml    what was asked for
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from trm_deploy import checkpoint
from trm_deploy.errors import CannotRunHere, CheckpointError, RecipeError, TrmDeployError
from trm_deploy.files import atomic_path, write_atomic
from trm_deploy.models.recursive import RecursiveReasoner
from trm_deploy.models.solve import solve
from trm_deploy.progress import progress
from trm_deploy.train.choices import GRADIENTS, INITIAL_STATES, whole
from trm_deploy.train.data import Stream, puzzles
from trm_deploy.train.ema import warmed_average
from trm_deploy.train.losses import step_loss
from trm_deploy.train.recipe import OptimizerSettings, Recipe, TrainingSettings

EVALUATION_BATCH = 64


class Batch(NamedTuple):
    """The persistent batch; B samples, S = P + L positions."""

    tokens: Tensor  # int64 [B, L]
    labels: Tensor  # int64 [B, L]
    y: Tensor  # [B, S, D]
    z: Tensor  # [B, S, D]
    steps: Tensor  # int64 [B] supervision steps done
    halted: Tensor  # bool [B]: the slot is free


class StepResult(NamedTuple):
    """What one supervised step of a batch gives; all detached but `loss`."""

    loss: Tensor  # float32 []
    answer_loss: Tensor  # float32 []
    halting_loss: Tensor  # float32 []
    correct: Tensor  # bool [B]
    halt_logit: Tensor  # float32 [B]
    y: Tensor
    z: Tensor


class SupervisedStep(nn.Module):
    """One supervision step with its loss; gradient flows as far back as the settings say."""

    def __init__(self, model: RecursiveReasoner, settings: TrainingSettings, state_dtype: torch.dtype) -> None:
        super().__init__()
        self.model = model
        self.settings = settings
        self.state_dtype = state_dtype

    def forward(
        self, tokens: Tensor, labels: Tensor, fresh: Tensor, last: Tensor, y: Tensor, z: Tensor, deep: int
    ) -> StepResult:
        """int64 [B, L] twice, bool [B] twice, state [B, S, D] twice, latent recursions in all.

        Rows that are `fresh` start from the initial state; those that are `last` take their last supervision step.
        """
        model = self.model
        y_init, z_init = model.initial_state(len(tokens))
        y = torch.where(fresh[:, None, None], y_init.to(y.dtype), y)
        z = torch.where(fresh[:, None, None], z_init.to(z.dtype), z)
        # Autocast narrows matrix products only; a narrow x keeps the sums and norms between them narrow too.
        x = model.embed(tokens).to(self.state_dtype)
        y, z = GRADIENTS[self.settings.gradient](model, x, y, z, deep)
        logits, halt_logit, q = model.heads(y)

        def next_q() -> Tensor:
            with torch.no_grad():
                later, _ = whole(model, x, y, z, deep)
                return model.heads(later)[2]

        losses = step_loss(logits, q, labels, last, next_q, loss=self.settings.loss, rule=model.spec.halting.rule)
        answer_loss, halting_loss = losses.answer.mean(), losses.halting.mean()
        return StepResult(
            answer_loss + self.settings.halting_weight * halting_loss,
            answer_loss.detach(),
            halting_loss.detach(),
            losses.correct,
            halt_logit.detach(),
            y.detach(),
            z.detach(),
        )


def build_optimizer(model: RecursiveReasoner, settings: OptimizerSettings) -> torch.optim.Optimizer:
    """AdamW over a model's parameters; matrices decay, vectors do not."""
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": settings.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    first, second = settings.betas
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(first, second), fused=True)


class Trainer:
    """A training run in a folder.

    Args:
        recipe: what to train.
        output: the run's folder; made where missing.
        resume: go on from the folder's last checkpoint.

    Raises:
        TrmDeployError: the folder holds a run and `resume` is off.
        CheckpointError: nothing to resume, or a run of another recipe.
    """

    def __init__(self, recipe: Recipe, output: Path, *, resume: bool = False) -> None:
        self.recipe = recipe
        self.output = output
        state_path = output / "resume.pt"
        if state_path.exists() and not resume:
            raise TrmDeployError(f"{output}: holds a run already", hint="add --resume, or name another --output")
        if resume and not state_path.exists():
            raise CheckpointError(f"{output}: holds no run to resume (no resume.pt)", hint="leave out --resume")
        state = checkpoint.read_pickle(state_path) if resume else None
        if state is not None and state["recipe"] != recipe.text:
            raise CheckpointError(
                f"{output}: is a run of another recipe",
                hint=f"type: trm-deploy train {output}/recipe.toml --output {output} --resume",
            )

        training = recipe.training
        if training.compile and not any(map(shutil.which, ("c++", "g++", "clang++"))):
            raise CannotRunHere(
                "the recipe says training.compile = true, and torch.compile finds no C++ compiler here",
                hint="install g++, or train with a copy of the recipe that says compile = false",
            )
        torch.manual_seed(training.seed)
        self.model = RecursiveReasoner(recipe.spec)
        INITIAL_STATES[training.initial_state](self.model)
        self.average = AveragedModel(self.model, multi_avg_fn=warmed_average(training.ema))
        self.optimizer = build_optimizer(self.model, recipe.optimizer)
        narrow = training.precision == "bf16"
        self._autocast = torch.autocast("cpu", dtype=torch.bfloat16, enabled=narrow)
        self._state_dtype = torch.bfloat16 if narrow else torch.float32
        supervised = SupervisedStep(self.model, training, self._state_dtype)
        self._supervised = torch.compile(supervised, dynamic=False) if training.compile else supervised
        self.stream = Stream(puzzles(recipe.data), recipe.puzzle, training.seed)
        self.held_out = puzzles(
            dataclasses.replace(recipe.data, puzzles=recipe.evaluation.puzzles, seed=recipe.data.seed + 1)
        )
        # Exploration draws from its own generator: torch's global one belongs to the weights.
        self.explorer = torch.Generator().manual_seed(training.seed)
        self.step = 0
        self.seconds = 0.0  # of training, over all resumptions
        self.batches = [self._empty_batch() for _ in range(training.rotation)]
        if state is not None:
            self._load_state(state)

    def _empty_batch(self) -> Batch:
        size, length = self.recipe.training.batch_size, self.recipe.puzzle.cells
        y, z = (torch.zeros_like(state, dtype=self._state_dtype) for state in self.model.initial_state(size))
        tokens = torch.zeros(size, length, dtype=torch.int64)
        return Batch(
            tokens,
            tokens.clone(),
            y,
            z,
            torch.zeros(size, dtype=torch.int64),
            torch.ones(size, dtype=torch.bool),
        )

    def run(self) -> None:
        """Train to the end; checkpoints, metrics and curves go to the folder."""
        training = self.recipe.training
        write_atomic(self.output / "recipe.toml", self.recipe.text)
        self._truncate_metrics()
        started = time.monotonic() - self.seconds
        window = Window(time.monotonic())
        with progress("training", training.steps, done=self.step, unit="steps") as advance:
            while self.step < training.steps:
                result, batch = self._optimize()
                self.step += 1
                self.seconds = time.monotonic() - started
                window.add(result, batch)
                last = self.step == training.steps
                if self.step % training.log_every == 0 or last:
                    line = window.line(self.step, self.seconds, self._learning_rate())
                    self._record(line)
                    window = Window(time.monotonic())
                    advance(0, _note(line))
                if self.step % self.recipe.evaluation.every == 0 or last:
                    self._record({"step": self.step, "seconds": self.seconds, **self.evaluate()})
                    plot(self.output / "metrics.jsonl", self.output / "curves.png")
                if self.step % training.checkpoint_every == 0 or last:
                    self.save()
                advance(1)

    def _optimize(self) -> tuple[StepResult, Batch]:
        """One optimiser step; the result and the batch after it."""
        settings = self.recipe.optimizer
        turn = self.step % len(self.batches)
        batch = self._refill(self.batches[turn])
        factor = settings.learning_rate_factor(self.step, self.recipe.training.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = settings.learning_rate * factor
        steps = batch.steps + 1
        last = steps >= self.recipe.spec.halting.max_steps
        with self._autocast:
            result: StepResult = self._supervised(
                batch.tokens, batch.labels, batch.halted, last, batch.y, batch.z, self._deep()
            )
        if not torch.isfinite(result.loss):
            raise RecipeError(
                f"the loss is {result.loss.item()} at step {self.step}, expected a finite number",
                hint="lower optimizer.learning_rate in the recipe",
            )
        result.loss.backward()  # type: ignore[no-untyped-call]
        if settings.clip_norm:
            nn.utils.clip_grad_norm_(self.model.parameters(), settings.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.average.update_parameters(self.model)

        halted = self._halts(steps, result.halt_logit)
        self.batches[turn] = Batch(batch.tokens, batch.labels, result.y, result.z, steps, halted)
        return result, self.batches[turn]

    def _refill(self, batch: Batch) -> Batch:
        """Fresh samples in the free slots; their state is reset inside the supervised step."""
        free = batch.halted
        if not free.any():
            return batch
        samples = self.stream.take(int(free.sum()))
        tokens, labels = batch.tokens.clone(), batch.labels.clone()
        tokens[free] = torch.from_numpy(samples.questions).long()
        labels[free] = torch.from_numpy(samples.answers).long()
        # The first samples start with different counts of steps, so that slots come free evenly ever after and
        # not all at once: in lockstep, every gradient would be of one supervision step only.
        start = torch.arange(len(free)) % self.recipe.spec.halting.max_steps if self.step < len(self.batches) else 0
        return batch._replace(tokens=tokens, labels=labels, steps=torch.where(free, start, batch.steps))

    def _halts(self, steps: Tensor, halt_logit: Tensor) -> Tensor:
        """Which samples leave the batch: those that halt, unless exploration holds them, and those at N_sup."""
        limit = self.recipe.spec.halting.max_steps
        exploring = torch.rand(len(steps), generator=self.explorer) < self.recipe.training.exploration
        least = torch.randint(2, limit + 1, (len(steps),), generator=self.explorer) if limit > 1 else steps
        least = torch.where(exploring, least, 0)
        return (steps >= limit) | ((halt_logit > 0) & (steps >= least))

    def _deep(self) -> int:
        """T, the latent recursions of a supervision step, at this optimiser step."""
        training = self.recipe.training
        done = self.step / training.steps
        stages = (stage.deep for stage in training.curriculum if done < stage.until)
        return next(stages, self.recipe.spec.recursion.deep)

    def _learning_rate(self) -> float:
        return float(self.optimizer.param_groups[0]["lr"])

    @property
    def averaged(self) -> RecursiveReasoner:
        """The model with averaged weights."""
        return self.average.module  # type: ignore[return-value]

    def evaluate(self) -> dict[str, float]:
        """Solved share and mean steps of the averaged weights on puzzles kept out, in the training precision."""
        count = self.recipe.evaluation.puzzles
        # The same puzzles each time: a fresh stream with the same seed.
        samples = Stream(self.held_out, self.recipe.puzzle, self.recipe.training.seed).take(count)
        solved = steps = cells = 0.0
        halting = self.recipe.spec.halting
        for start in range(0, count, EVALUATION_BATCH):
            rows = slice(start, start + EVALUATION_BATCH)
            with self._autocast:
                out = solve(
                    self.averaged,
                    torch.from_numpy(samples.questions[rows]),
                    max_steps=halting.max_steps,
                    halt_threshold=halting.threshold,
                )
            right = out.answer == torch.from_numpy(samples.answers[rows])
            solved += float(right.all(-1).sum())
            cells += float(right.float().mean(-1).sum())
            steps += float(out.steps.sum())
        return {
            "held_out_solved": solved / count,
            "held_out_cells": cells / count,
            "held_out_mean_steps": steps / count,
        }

    def save(self) -> None:
        """Write both files. Each is atomic; resuming reads only resume.pt, which alone is complete."""
        training = {"steps": self.step, "recipe": self.recipe.text, "seed": self.recipe.training.seed}
        ema = {name: value.detach().clone() for name, value in self.averaged.state_dict().items()}
        state = {
            "recipe": self.recipe.text,
            "step": self.step,
            "seconds": self.seconds,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "batches": [batch._asdict() for batch in self.batches],
            "stream": self.stream.state_dict(),
            "explorer": self.explorer.get_state(),
        }
        with atomic_path(self.output / "resume.pt") as temporary:
            torch.save(state, temporary)
        checkpoint.save(self.output / "ema.pt", checkpoint.Checkpoint(self.recipe.spec, ema, training))

    def _load_state(self, state: dict[str, Any]) -> None:
        self.step, self.seconds = state["step"], state["seconds"]
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.batches = [Batch(**batch) for batch in state["batches"]]
        self.stream.load_state_dict(state["stream"])
        self.explorer.set_state(state["explorer"])

    def _record(self, line: dict[str, Any]) -> None:
        self.output.mkdir(parents=True, exist_ok=True)
        with (self.output / "metrics.jsonl").open("a") as file:
            file.write(json.dumps({k: round(v, 6) if isinstance(v, float) else v for k, v in line.items()}) + "\n")

    def _truncate_metrics(self) -> None:
        """Drop what a killed run logged after its last checkpoint: it is about to be trained again."""
        path = self.output / "metrics.jsonl"
        lines = [line for line in read_metrics(path) if line["step"] <= self.step]
        write_atomic(path, "".join(json.dumps(line) + "\n" for line in lines))


class Window:
    """Means over the optimiser steps since the last line of metrics."""

    def __init__(self, started: float) -> None:
        self.started = started
        self.optimizer_steps = 0
        self.answer_loss = self.halting_loss = 0.0
        self.left = self.solved = self.steps = 0

    def add(self, result: StepResult, batch: Batch) -> None:
        """Count one optimiser step with its result and the batch after it."""
        halted = batch.halted
        self.optimizer_steps += 1
        self.answer_loss += result.answer_loss.item()
        self.halting_loss += result.halting_loss.item()
        self.left += int(halted.sum())
        self.solved += int((halted & result.correct).sum())
        self.steps += int(batch.steps[halted].sum())

    def line(self, step: int, seconds: float, learning_rate: float) -> dict[str, Any]:
        """The metrics: losses, share solved and mean steps of the samples that left, optimiser steps a second.

        These are samples that the weights were just updated on; how the model does on others, `held_out_solved` says.
        """
        left = max(self.left, 1)
        return {
            "step": step,
            "seconds": seconds,
            "answer_loss": self.answer_loss / self.optimizer_steps,
            "halting_loss": self.halting_loss / self.optimizer_steps,
            "solved": self.solved / left,
            "mean_steps": self.steps / left,
            "steps_per_second": self.optimizer_steps / (time.monotonic() - self.started),
            "learning_rate": learning_rate,
        }


def _note(line: dict[str, Any]) -> str:
    return (
        f"loss {line['answer_loss']:.3f}  solved {line['solved']:.1%}  mean steps {line['mean_steps']:.1f}"
        f"  {line['steps_per_second']:.2f} steps/s"
    )


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The complete lines of a metrics file; a run killed while writing leaves at most one incomplete."""
    if not path.exists():
        return []
    lines = path.read_text().split("\n")[:-1]
    return [json.loads(line) for line in lines]


def plot(metrics: Path, output: Path) -> None:
    """Draw loss, solved share and mean steps against optimiser steps as a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    lines = read_metrics(metrics)
    figure, axes = pyplot.subplots(1, 3, figsize=(13, 3.6), layout="constrained")
    for axis, title, keys in zip(
        axes,
        ("loss", "solved share", "mean supervision steps"),
        (("answer_loss", "halting_loss"), ("solved", "held_out_solved"), ("mean_steps", "held_out_mean_steps")),
    ):
        for key in keys:
            points = [(line["step"], line[key]) for line in lines if key in line]
            if points:
                axis.plot(*np.array(points).T, label=key.replace("_", " "))
        axis.set(xlabel="optimiser step", title=title)
        axis.grid(alpha=0.3)
        axis.legend()
    with atomic_path(output) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
    pyplot.close(figure)
