"""Deep supervision on a persistent batch.

Each optimiser step is one supervision step of every sample in the batch. A sample that halts or has done N_sup
supervision steps leaves, and a fresh one takes its slot; the others carry their state y, z on, detached
(TRM, arXiv 2510.04871, figure 3; HRM, arXiv 2506.21734, section 2).

The files of a run are listed in `trm_deploy.train.run_folder`. Several processes train together under torchrun, see
`trm_deploy.train.distributed`; the first one writes the files.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

from trm_deploy import checkpoints
from trm_deploy.errors import CannotRunHere, CheckpointError, RecipeError
from trm_deploy.models.recursive import RecursiveReasoner
from trm_deploy.models.solve import solve
from trm_deploy.support.files import atomic_path, write_atomic
from trm_deploy.support.progress import Advance, progress
from trm_deploy.train import metrics, run_folder, runlog
from trm_deploy.train.batch import Batch, HostCopy, moved
from trm_deploy.train.data import sources
from trm_deploy.train.distributed import Ranks, device_for
from trm_deploy.train.ema import warmed_average
from trm_deploy.train.gradients import INITIAL_STATES
from trm_deploy.train.interrupts import held_back
from trm_deploy.train.labels import IGNORED
from trm_deploy.train.optimizers import PuzzleTable, build_optimizer
from trm_deploy.train.recipe import Recipe
from trm_deploy.train.runlog import RunLog
from trm_deploy.train.supervision import SupervisedStep, SupervisionResult
from trm_deploy.train.warm_start import read_start

log = logging.getLogger(__name__)

EVALUATION_BATCH = {"cpu": 64, "cuda": 1024}


class Trainer:
    """A training run in a folder.

    Args:
        recipe: what to train.
        output: the run's folder; made where missing.
        resume: go on from the folder's last checkpoint; any number of processes can.
        force: begin anew in a folder that holds a run, whose files are removed when training begins.
        start: a checkpoint whose weights a new run starts from, with a new optimiser state.
        ranks: the processes that train together.

    Raises:
        InputError: the folder holds a run, finished or begun, without `resume` or `force`; the dataset's folder cannot
            be read.
        CheckpointError: nothing to resume, or a run of another recipe or of other data; `start` is of another model.
        RecipeError: the batch cannot be shared out evenly among the processes.
        CannotRunHere: no such device here, no compiler, or no numba where puzzles are to be made.
    """

    def __init__(
        self,
        recipe: Recipe,
        output: Path,
        *,
        resume: bool = False,
        force: bool = False,
        start: Path | None = None,
        ranks: Ranks | None = None,
    ) -> None:
        self.recipe = recipe
        self.output = output
        self.ranks = ranks or Ranks()
        self._resumed = resume
        if not resume:
            run_folder.check_free(output, force=force, start=start)
        state = run_folder.read_state(output, recipe) if resume else None
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
        self._started_from = ""  # SHA-256 of the checkpoint whose weights the run started from
        self._make_model(start)
        self._make_supervised()
        # Exploration draws from its own generator: torch's global one belongs to the weights.
        self.explorer = torch.Generator().manual_seed(training.seed)
        self.step = 0
        self.seconds = 0.0  # of training, over all resumptions
        self.cpu_seconds = 0.0  # of this process in that time, on all its cores
        size = training.batch_size // self.ranks.count
        self.batches = [Batch.empty(self.model, size, self._state_dtype, self.device) for _ in range(training.rotation)]
        if state is not None:
            try:
                self._load_state(state)
            except (KeyError, TypeError, ValueError, AttributeError, IndexError, RuntimeError) as error:
                reason = " ".join(str(error).split())[:160]
                raise CheckpointError(
                    f"{output / run_folder.STATE}: does not fit this run ({type(error).__name__}: {reason})",
                    hint="train into another --output",
                ) from error
        self._free = [HostCopy(self.ranks.gather(batch.halted)) for batch in self.batches]
        self._saved = self.step  # the optimiser step of the last checkpoint
        self._whole = True  # no optimiser step has been begun and not finished
        self._writes_every = (training.log_every, training.checkpoint_every, recipe.evaluation.every)

    def _make_model(self, start: Path | None) -> None:
        """The model, its average, its optimiser, and the puzzle embeddings where they are trained apart."""
        training = self.recipe.training
        torch.manual_seed(training.seed)
        self.model = RecursiveReasoner(self.spec)
        INITIAL_STATES[training.initial_state](self.model)
        if start is not None:
            found = read_start(start, self.spec, self.source.identifiers_file)
            self.model.load_state_dict(found.ema)
            self._started_from = found.sha256
            if self.ranks.first:
                done = found.training.get("steps", "an unknown number of")
                log.info("starting from the weights of %s (%s optimiser steps), optimiser state anew", start, done)
        self.model.to(self.device)
        apart = self.recipe.optimizer.puzzle_learning_rate is not None
        self.table = PuzzleTable(self.model, self.recipe.optimizer, self.ranks) if apart else None
        self.average = AveragedModel(self.model, multi_avg_fn=warmed_average(training.ema))
        if self.table:
            self.table.share_with(self.averaged)
        self.optimizer = build_optimizer(self.model, self.recipe.optimizer)

    def _make_supervised(self) -> None:
        """The supervision step, compiled and over all processes as the recipe and torchrun say."""
        training = self.recipe.training
        narrow = training.precision == "bf16"
        self._autocast = torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=narrow)
        self._state_dtype = torch.bfloat16 if narrow else torch.float32
        supervised: Any = SupervisedStep(self.model, training, self._state_dtype)
        if training.compile and self.device.type == "cuda":
            # The networks alone: compiled once for every T, and a GPU hides what the loops around them cost.
            for network in self.model.networks:
                network.compile(dynamic=False)
        elif training.compile:
            supervised = torch.compile(supervised, dynamic=False)
        if self.ranks.count > 1:
            # Where y is the only state, a trained start of z gets no gradient.
            unused = training.initial_state == "learned"
            supervised = DistributedDataParallel(supervised, forward_sync_buffers=False, find_unused_parameters=unused)
        self._supervised = supervised

    def run(self) -> None:
        """Train to the end; checkpoints, metrics and curves go to the folder.

        Ctrl-C is heeded after the optimiser step at work, and saves a checkpoint; where several processes train
        together it ends them at once, and the last checkpoint stays.
        """
        if not self.ranks.first:
            self._run(None, lambda *_: None)
            return
        names = self.source.identifiers_file.read_bytes() if self.source.identifiers_file else None
        if not self._resumed:
            run_folder.clear(self.output)
        write_atomic(self.output / run_folder.RECIPE, self.recipe.text)
        if names is not None:
            write_atomic(self.output / run_folder.IDENTIFIERS, names)
        bar = progress("training", self.recipe.training.steps, done=self.step, unit="steps")
        with contextlib.closing(RunLog(self.output, self.step)) as written, bar as advance:
            self._run(written, advance)
        log.info("trained %s", runlog.summary(self.output / run_folder.METRICS))

    def _run(self, written: RunLog | None, advance: Advance) -> None:
        try:
            self._train(written, advance)
        except KeyboardInterrupt:
            # Several processes would have to agree on a step; they are seldom interrupted at the same one.
            if self._whole and self.step > self._saved and self.ranks.count == 1:
                self.save()
                log.info("saved a checkpoint at step %s of %s", self.step, self.recipe.training.steps)
            raise

    def _train(self, written: RunLog | None, advance: Advance) -> None:
        training = self.recipe.training
        started, cpu_started = time.monotonic() - self.seconds, time.process_time() - self.cpu_seconds
        window = metrics.Window()
        while self._done() < 1:
            with held_back():
                self._whole = False
                result, batch = self._optimize()
                self.step += 1
                self._whole = True
            self.seconds, self.cpu_seconds = time.monotonic() - started, time.process_time() - cpu_started
            window.add(result, batch)
            last = self._done() >= 1
            self._check_loss(result.loss, last)
            if self.step % training.log_every == 0 or last:
                line = {
                    **self._now(),
                    **window.line(self.ranks),
                    "learning_rate": self._learning_rate(),
                }
                if written:
                    written.record(line)
                window = metrics.Window()
                advance(0, metrics.note(line))
            if self.step % self.recipe.evaluation.every == 0 or last:
                line = {**self._now(), **self.evaluate()}
                if written:
                    written.record(line)
                    written.draw()
            if self.step % training.checkpoint_every == 0 or last:
                self.save()
                if written:
                    written.flush()
            advance(1)

    def _optimize(self) -> tuple[SupervisionResult, Batch]:
        """One optimiser step; the result and the batch after it."""
        section = self.recipe.optimizer
        turn = self.step % len(self.batches)
        stagger = self.spec.halting.max_steps if self.step < len(self.batches) else 0
        batch = self.batches[turn].refilled(self.source, self.ranks, self._free[turn].wait(), stagger=stagger)
        factor = section.learning_rate_factor(self.step, self.recipe.training.steps, self._by_clock())
        for group in self.optimizer.param_groups:
            group["lr"] = section.learning_rate * factor
        rows = self.table.rows(batch.puzzles) if self.table else None
        steps = batch.steps + 1
        last = steps >= self.spec.halting.max_steps
        with self._autocast:
            result: SupervisionResult = self._supervised(
                batch.tokens, batch.labels, batch.halted, last, batch.y, batch.z, self._deep(), rows
            )
        result.loss.backward()  # type: ignore[no-untyped-call]
        if self.table and rows is not None and rows.grad is not None:
            self.table.update(batch.puzzles, rows.grad, factor)
        if section.clip_norm:
            nn.utils.clip_grad_norm_(self.model.parameters(), section.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.average.update_parameters(self.model)

        halted = self._halts(steps, result.halt_logit)
        self.batches[turn] = batch._replace(y=result.y, z=result.z, steps=steps, halted=halted)
        self._free[turn] = HostCopy(self.ranks.gather(halted))
        return result, self.batches[turn]

    def _halts(self, steps: Tensor, halt_logit: Tensor) -> Tensor:
        """Which samples leave the batch: those that halt, unless exploration holds them, and those at N_sup."""
        limit = self.spec.halting.max_steps
        count = len(steps) * self.ranks.count
        exploring = torch.rand(count, generator=self.explorer) < self.recipe.training.exploration
        least = torch.randint(2, max(limit, 2) + 1, (count,), generator=self.explorer)
        least = moved(self.ranks.share(torch.where(exploring, least, 0)), self.device)
        return (steps >= limit) | ((halt_logit > 0) & (steps >= least))

    def _deep(self) -> int:
        """T, the latent recursions of a supervision step, at this optimiser step."""
        done = self._done()
        stages = (stage.deep for stage in self.recipe.training.curriculum if done < stage.until)
        return next(stages, self.recipe.spec.recursion.deep)

    def _done(self) -> float:
        """The share of the run that is over, by optimiser steps or by the clock, whichever is further; 1 at its end."""
        return min(1.0, max(self.step / self.recipe.training.steps, self._by_clock()))

    def _by_clock(self) -> float:
        """The share of the run's minutes that are over; 0 where the recipe names none."""
        minutes = self.recipe.training.minutes
        return self.seconds / (60 * minutes) if minutes else 0.0

    def _check_loss(self, loss: Tensor, last: bool) -> None:
        """Refuse a loss that is not finite. A GPU has to be waited for, so there only before something is written."""
        written = last or any(self.step % every == 0 for every in self._writes_every)
        if (written or self.device.type == "cpu") and not torch.isfinite(loss):
            raise RecipeError(
                f"the loss is {loss.item()} at step {self.step}, expected a finite number",
                hint="lower optimizer.learning_rate in the recipe",
            )

    def _now(self) -> dict[str, float]:
        """Where the run is: optimiser steps, seconds by the clock, and of CPU, to which others' work adds nothing."""
        return {"step": self.step, "seconds": self.seconds, "cpu_seconds": self.cpu_seconds}

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
        size = EVALUATION_BATCH[self.device.type]
        for start in range(0, len(mine), size):
            rows = list(mine[start : start + size])
            questions, labels, puzzles = (torch.from_numpy(array[rows]).to(self.device) for array in samples)
            with self._autocast:
                out = solve(
                    self.averaged,
                    questions,
                    puzzles if self.spec.task.puzzle_identifiers > 1 else None,
                    max_steps=halting.max_steps,
                    halt_threshold=halting.threshold,
                )
            wanted = labels != IGNORED
            right = (out.answer == labels) & wanted
            cells = right.sum(-1) / wanted.sum(-1).clamp_min(1)
            solved = (right == wanted).all(-1)
            totals += torch.stack((solved.sum(), cells.sum(), out.steps.sum())).double()
        solved_share, cells_share, mean_steps = (self.ranks.sum(totals) / len(samples.questions)).tolist()
        return {"held_out_solved": solved_share, "held_out_cells": cells_share, "held_out_mean_steps": mean_steps}

    def save(self) -> None:
        """Write both files. Each is atomic; resuming reads only resume.pt, which alone is complete."""
        batches = [Batch(*(self.ranks.gather(part).cpu() for part in batch)) for batch in self.batches]
        if not self.ranks.first:
            return
        training: dict[str, Any] = {
            "steps": self.step,
            "recipe": self.recipe.text,
            "seed": self.recipe.training.seed,
        }
        if self._done() >= 1 and self.step < self.recipe.training.steps:
            training["out_of_time"] = True
        if self._started_from:
            training["started_from"] = self._started_from
        ema = {name: value.detach().cpu().clone() for name, value in self.averaged.state_dict().items()}
        state = {
            "recipe": self.recipe.text,
            "step": self.step,
            "seconds": self.seconds,
            "cpu_seconds": self.cpu_seconds,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "batches": [batch._asdict() for batch in batches],
            "stream": self.source.state_dict(),
            "explorer": self.explorer.get_state(),
            "started_from": self._started_from,
        }
        if self.table:
            ema["puzzles"] = state["table"] = self.table.weight.cpu()
        with atomic_path(self.output / run_folder.STATE) as temporary:
            torch.save(state, temporary)
        checkpoints.save(self.output / run_folder.CHECKPOINT, checkpoints.Checkpoint(self.spec, ema, training))
        self._saved = self.step

    def _load_state(self, state: dict[str, Any]) -> None:
        self.step, self.seconds = state["step"], state["seconds"]
        self._started_from = state.get("started_from", "")  # runs of before it was written have none
        self.cpu_seconds = state.get("cpu_seconds", 0.0)  # likewise
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
