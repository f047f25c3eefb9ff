"""Deep supervision on a persistent batch.

Each optimiser step is one supervision step of every sample in the batch. A sample that halts or has done N_sup
supervision steps leaves, and a fresh one takes its slot; the others carry their state y, z on, detached
(TRM, arXiv 2510.04871, figure 3; HRM, arXiv 2506.21734, section 2).

A run's folder holds:

    ema.pt         the checkpoint to export: averaged weights (see `trm_deploy.checkpoints.native`)
    resume.pt      all that resuming needs beyond it: raw weights, optimiser, random states, the batch
    metrics.jsonl  one line every `log_every` optimiser steps, and one for each evaluation
    curves.png     the same as a picture
    tensorboard/   the same for TensorBoard
    recipe.toml    what was asked for
    identifiers.json   names of the puzzle identifiers, where the data have them

Several processes train together under torchrun, see `trm_deploy.train.distributed`; the first one writes the files.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

from trm_deploy import checkpoints
from trm_deploy.checkpoints import archive
from trm_deploy.errors import CannotRunHere, CheckpointError, RecipeError, TrmDeployError
from trm_deploy.models.recursive import RecursiveReasoner
from trm_deploy.models.solve import solve
from trm_deploy.support.files import atomic_path, write_atomic
from trm_deploy.support.progress import Advance, progress
from trm_deploy.train.data import sources
from trm_deploy.train.distributed import Ranks, device_for
from trm_deploy.train.ema import warmed_average
from trm_deploy.train.gradients import GRADIENTS, INITIAL_STATES, whole
from trm_deploy.train.labels import IGNORED
from trm_deploy.train.losses import step_loss
from trm_deploy.train.optimizers import PuzzleTable, build_optimizer
from trm_deploy.train.recipe import Recipe, TrainingSection
from trm_deploy.train.runlog import RunLog

EVALUATION_BATCH = 64


class Batch(NamedTuple):
    """The persistent batch, of one process; B samples, S = P + L positions."""

    tokens: Tensor  # int64 [B, L]
    labels: Tensor  # int64 [B, L]
    puzzles: Tensor  # int64 [B], puzzle identifiers
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

    def __init__(self, model: RecursiveReasoner, settings: TrainingSection, state_dtype: torch.dtype) -> None:
        super().__init__()
        self.model = model
        self.settings = settings
        self.state_dtype = state_dtype

    def forward(
        self,
        tokens: Tensor,
        labels: Tensor,
        fresh: Tensor,
        last: Tensor,
        y: Tensor,
        z: Tensor,
        deep: int,
        puzzle_embedding: Tensor | None = None,
    ) -> StepResult:
        """int64 [B, L] twice, bool [B] twice, state [B, S, D] twice, latent recursions in all, float32 [B, E] or None.

        Rows that are `fresh` start from the initial state; those that are `last` take their last supervision step.
        """
        model = self.model
        y_init, z_init = model.initial_state(len(tokens))
        y = torch.where(fresh[:, None, None], y_init.to(y.dtype), y)
        z = torch.where(fresh[:, None, None], z_init.to(z.dtype), z)
        # Autocast narrows matrix products only; a narrow x keeps the sums and norms between them narrow too.
        x = model.embed(tokens, puzzle_embedding=puzzle_embedding).to(self.state_dtype)
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


class Trainer:
    """A training run in a folder.

    Args:
        recipe: what to train.
        output: the run's folder; made where missing.
        resume: go on from the folder's last checkpoint; any number of processes can.
        ranks: the processes that train together.

    Raises:
        TrmDeployError: the folder holds a run and `resume` is off.
        CheckpointError: nothing to resume, or a run of another recipe or of other data.
        RecipeError: the batch cannot be shared out evenly among the processes.
        InputError: the dataset's folder cannot be read.
        CannotRunHere: no such device here, or no compiler.
    """

    def __init__(self, recipe: Recipe, output: Path, *, resume: bool = False, ranks: Ranks | None = None) -> None:
        self.recipe = recipe
        self.output = output
        self.ranks = ranks or Ranks()
        state_path = output / "resume.pt"
        if state_path.exists() and not resume:
            raise TrmDeployError(f"{output}: holds a run already", hint="add --resume, or name another --output")
        if resume and not state_path.exists():
            raise CheckpointError(f"{output}: holds no run to resume (no resume.pt)", hint="leave out --resume")
        state = archive.read_pickle(state_path) if resume else None
        if state is not None and (not isinstance(state, dict) or "recipe" not in state):
            raise CheckpointError(f"{state_path}: holds no state of a run", hint="leave out --resume")
        if state is not None and state["recipe"] != recipe.text:
            raise CheckpointError(
                f"{output}: is a run of another recipe",
                hint=f"type: trm-deploy train {output}/recipe.toml --output {output} --resume",
            )

        training = recipe.training
        if training.batch_size % self.ranks.count:
            raise RecipeError(
                f"training.batch_size is {training.batch_size}, expected a multiple of the {self.ranks.count} processes"
            )
        self.device = device_for(training.device, self.ranks)
        if training.compile and not any(map(shutil.which, ("c++", "g++", "clang++"))):
            raise CannotRunHere(
                "the recipe says training.compile = true, and torch.compile finds no C++ compiler here",
                hint="install g++, or train with a copy of the recipe that says compile = false",
            )
        with self.ranks.one_a_machine_first():
            self.source = sources.build(recipe.data, seed=training.seed, held_out=recipe.evaluation.puzzles)
        self.spec = recipe.spec_for(self.source.puzzle_identifiers)
        torch.manual_seed(training.seed)
        self.model = RecursiveReasoner(self.spec)
        INITIAL_STATES[training.initial_state](self.model)
        self.model.to(self.device)
        apart = recipe.optimizer.puzzle_learning_rate is not None
        self.table = PuzzleTable(self.model, recipe.optimizer, self.ranks) if apart else None
        self.average = AveragedModel(self.model, multi_avg_fn=warmed_average(training.ema))
        if self.table:
            self.table.lend_to(self.averaged)
        self.optimizer = build_optimizer(self.model, recipe.optimizer)
        narrow = training.precision == "bf16"
        self._autocast = torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=narrow)
        self._state_dtype = torch.bfloat16 if narrow else torch.float32
        supervised: Any = SupervisedStep(self.model, training, self._state_dtype)
        if training.compile:
            supervised = torch.compile(supervised, dynamic=False)
        if self.ranks.count > 1:
            # Where y is the only state, a trained start of z gets no gradient.
            unused = training.initial_state == "learned"
            supervised = DistributedDataParallel(supervised, forward_sync_buffers=False, find_unused_parameters=unused)
        self._supervised = supervised
        # Exploration draws from its own generator: torch's global one belongs to the weights.
        self.explorer = torch.Generator().manual_seed(training.seed)
        self.step = 0
        self.seconds = 0.0  # of training, over all resumptions
        self.batches = [self._empty_batch() for _ in range(training.rotation)]
        if state is not None:
            try:
                self._load_state(state)
            except (KeyError, TypeError, ValueError, AttributeError, IndexError, RuntimeError) as error:
                reason = " ".join(str(error).split())[:160]
                raise CheckpointError(
                    f"{state_path}: does not fit this run ({type(error).__name__}: {reason})",
                    hint="train into another --output",
                ) from error

    def _empty_batch(self) -> Batch:
        size, length = self.recipe.training.batch_size // self.ranks.count, self.spec.task.sequence_length
        y, z = (torch.zeros_like(state, dtype=self._state_dtype) for state in self.model.initial_state(size))
        tokens = torch.zeros(size, length, dtype=torch.int64, device=self.device)
        numbers = tokens.new_zeros(size)
        return Batch(tokens, tokens.clone(), numbers, y, z, numbers.clone(), numbers == 0)

    def run(self) -> None:
        """Train to the end; checkpoints, metrics and curves go to the folder."""
        if not self.ranks.first:
            self._run(None, lambda *_: None)
            return
        write_atomic(self.output / "recipe.toml", self.recipe.text)
        if self.source.identifiers_file:
            write_atomic(self.output / "identifiers.json", self.source.identifiers_file.read_bytes())
        bar = progress("training", self.recipe.training.steps, done=self.step, unit="steps")
        with contextlib.closing(RunLog(self.output, self.step)) as log, bar as advance:
            self._run(log, advance)

    def _run(self, log: RunLog | None, advance: Advance) -> None:
        training = self.recipe.training
        started = time.monotonic() - self.seconds
        window = Window(time.monotonic())
        while self.step < training.steps:
            result, batch = self._optimize()
            self.step += 1
            self.seconds = time.monotonic() - started
            window.add(result, batch)
            last = self.step == training.steps
            if self.step % training.log_every == 0 or last:
                line = window.line(self.step, self.seconds, self._learning_rate(), self.ranks, self.device)
                if log:
                    log.record(line)
                window = Window(time.monotonic())
                advance(0, _note(line))
            if self.step % self.recipe.evaluation.every == 0 or last:
                line = {"step": self.step, "seconds": self.seconds, **self.evaluate()}
                if log:
                    log.record(line)
                    log.draw()
            if self.step % training.checkpoint_every == 0 or last:
                self.save()
                if log:
                    log.flush()
            advance(1)

    def _optimize(self) -> tuple[StepResult, Batch]:
        """One optimiser step; the result and the batch after it."""
        settings = self.recipe.optimizer
        turn = self.step % len(self.batches)
        batch = self._refill(self.batches[turn])
        factor = settings.learning_rate_factor(self.step, self.recipe.training.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = settings.learning_rate * factor
        rows = self.table.rows(batch.puzzles) if self.table else None
        steps = batch.steps + 1
        last = steps >= self.spec.halting.max_steps
        with self._autocast:
            result: StepResult = self._supervised(
                batch.tokens, batch.labels, batch.halted, last, batch.y, batch.z, self._deep(), rows
            )
        if not torch.isfinite(result.loss):
            raise RecipeError(
                f"the loss is {result.loss.item()} at step {self.step}, expected a finite number",
                hint="lower optimizer.learning_rate in the recipe",
            )
        result.loss.backward()  # type: ignore[no-untyped-call]
        if self.table and rows is not None and rows.grad is not None:
            self.table.update(batch.puzzles, rows.grad, factor)
        if settings.clip_norm:
            nn.utils.clip_grad_norm_(self.model.parameters(), settings.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.average.update_parameters(self.model)

        halted = self._halts(steps, result.halt_logit)
        self.batches[turn] = batch._replace(y=result.y, z=result.z, steps=steps, halted=halted)
        return result, self.batches[turn]

    def _refill(self, batch: Batch) -> Batch:
        """Fresh samples in the free slots; their state is reset inside the supervised step."""
        every = self.ranks.gather(batch.halted).cpu()  # bool [B], of all processes
        if not every.any():
            return batch
        samples = self.source.take(int(every.sum()))
        free = self.ranks.share(every)
        rows = self.ranks.share(every.cumsum(0) - 1)[free]  # which of the samples are this process's
        # The first samples start with different counts of steps, so that slots come free evenly ever after and
        # not all at once: in lockstep, every gradient would be of one supervision step only.
        first = self.step < len(self.batches)
        start = torch.arange(len(every)) % self.spec.halting.max_steps if first else torch.zeros(len(every))
        slots = free.to(self.device)

        def fill(old: Tensor, fresh: Tensor) -> Tensor:
            return old.index_put((slots,), fresh.long().to(self.device))

        tokens, labels, puzzles = (torch.from_numpy(array)[rows] for array in samples)
        return batch._replace(
            tokens=fill(batch.tokens, tokens),
            labels=fill(batch.labels, labels),
            puzzles=fill(batch.puzzles, puzzles),
            steps=fill(batch.steps, self.ranks.share(start)[free]),
        )

    def _halts(self, steps: Tensor, halt_logit: Tensor) -> Tensor:
        """Which samples leave the batch: those that halt, unless exploration holds them, and those at N_sup."""
        limit = self.spec.halting.max_steps
        count = len(steps) * self.ranks.count
        exploring = torch.rand(count, generator=self.explorer) < self.recipe.training.exploration
        least = torch.randint(2, max(limit, 2) + 1, (count,), generator=self.explorer)
        least = self.ranks.share(torch.where(exploring, least, 0)).to(self.device)
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
        samples = self.source.held_out()
        mine = range(self.ranks.index, len(samples.questions), self.ranks.count)
        totals = torch.zeros(3, dtype=torch.float64, device=self.device)  # solved, share of cells, steps
        halting = self.spec.halting
        for start in range(0, len(mine), EVALUATION_BATCH):
            rows = list(mine[start : start + EVALUATION_BATCH])
            questions, labels, puzzles = (torch.from_numpy(array[rows]).to(self.device) for array in samples)
            with self._autocast:
                out = solve(
                    self.averaged,
                    questions,
                    puzzles if self.spec.task.puzzle_identifiers > 1 else None,
                    max_steps=halting.max_steps,
                    halt_threshold=halting.threshold,
                )
            asked = labels != IGNORED
            right = (out.answer == labels) & asked
            cells = right.sum(-1) / asked.sum(-1).clamp_min(1)
            solved = (right == asked).all(-1)
            totals += torch.stack((solved.sum(), cells.sum(), out.steps.sum())).double()
        solved_share, cells_share, mean_steps = (self.ranks.sum(totals) / len(samples.questions)).tolist()
        return {"held_out_solved": solved_share, "held_out_cells": cells_share, "held_out_mean_steps": mean_steps}

    def save(self) -> None:
        """Write both files. Each is atomic; resuming reads only resume.pt, which alone is complete."""
        batches = [Batch(*(self.ranks.gather(part).cpu() for part in batch)) for batch in self.batches]
        if not self.ranks.first:
            return
        training = {"steps": self.step, "recipe": self.recipe.text, "seed": self.recipe.training.seed}
        ema = {name: value.detach().cpu().clone() for name, value in self.averaged.state_dict().items()}
        state = {
            "recipe": self.recipe.text,
            "step": self.step,
            "seconds": self.seconds,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "batches": [batch._asdict() for batch in batches],
            "stream": self.source.state_dict(),
            "explorer": self.explorer.get_state(),
        }
        if self.table:
            ema["puzzles"] = state["table"] = self.table.weight.cpu()
        with atomic_path(self.output / "resume.pt") as temporary:
            torch.save(state, temporary)
        checkpoints.save(self.output / "ema.pt", checkpoints.Checkpoint(self.spec, ema, training))

    def _load_state(self, state: dict[str, Any]) -> None:
        self.step, self.seconds = state["step"], state["seconds"]
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.batches = [
            Batch(**{name: self.ranks.share(part).to(self.device) for name, part in batch.items()})
            for batch in state["batches"]
        ]
        if self.table:
            self.table.weight.copy_(state["table"])
        self.source.load_state_dict(state["stream"])
        self.explorer.set_state(state["explorer"])


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

    def line(
        self, step: int, seconds: float, learning_rate: float, ranks: Ranks, device: torch.device
    ) -> dict[str, Any]:
        """The metrics: losses, share solved and mean steps of the samples that left, optimiser steps a second.

        These are samples that the weights were just updated on; how the model does on others, `held_out_solved` says.
        All processes must call it.
        """
        mine = (self.answer_loss, self.halting_loss, self.left, self.solved, self.steps)
        totals = ranks.sum(torch.tensor(mine, dtype=torch.float64, device=device)).tolist()
        answer_loss, halting_loss, left, solved, steps = totals
        losses, left = self.optimizer_steps * ranks.count, max(left, 1)
        return {
            "step": step,
            "seconds": seconds,
            "answer_loss": answer_loss / losses,
            "halting_loss": halting_loss / losses,
            "solved": solved / left,
            "mean_steps": steps / left,
            "steps_per_second": self.optimizer_steps / (time.monotonic() - self.started),
            "learning_rate": learning_rate,
        }


def _note(line: dict[str, Any]) -> str:
    return (
        f"loss {line['answer_loss']:.3f}  solved {line['solved']:.1%}  mean steps {line['mean_steps']:.1f}"
        f"  {line['steps_per_second']:.2f} steps/s"
    )
