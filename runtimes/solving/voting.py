"""ARC: a task is solved under each augmentation that the model was trained with, and the answers vote.

The demonstrations are not the network's input. What it knows of a task is the row of its embedding table that it
learned for it: the identifier map beside the engine says which rows belong to a task and to its augmentations.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trm_deploy.artefacts import identifiers
from trm_deploy.errors import InputError, PuzzleError, shown
from trm_deploy.puzzles import arc
from trm_deploy.puzzles.arc import Augmentation, Grid
from trm_deploy.puzzles.arc_tasks import Solutions, Task, each_task, fault, read_solutions, with_solutions
from trm_deploy.puzzles.base import Tokens
from trm_deploy.runtimes.solving.scheduling import Executor, Limits, solve_all
from trm_deploy.runtimes.solving.session import SolveOptions, SolvingSession
from trm_deploy.support.figures import write_plot
from trm_deploy.support.files import check_output
from trm_deploy.support.progress import progress

log = logging.getLogger(__name__)

# What may follow a task in the name of an augmentation, whoever spelled it.
LIKE_AN_AUGMENTATION = re.compile(r"[^0-9A-Za-z]")
# Predictions that a submission holds of each test input.
PREDICTIONS = 2
# What a submission holds where no attempt gave a grid: it has no way to say "none".
NO_GRID = [[0]]

Submission = dict[str, list[dict[str, list[list[int]]]]]
# The augmentations of each task that a model knows, each with its puzzle id.
Known = dict[str, list[tuple[int, Augmentation]]]


@dataclass(frozen=True)
class Prediction:
    """A grid that attempts agree on.

    Attributes:
        grid: in the task's own form.
        votes: attempts that gave it.
        confidence: their mean probability of being right, as the halting head puts it: the sigmoid of its logit.
    """

    grid: Grid
    votes: int
    confidence: float


@dataclass(frozen=True)
class VotedAnswer:
    """What became of one test input.

    Attributes:
        task: the task that it belongs to.
        number: which of the task's test inputs, from 0.
        predictions: all of them, the best first; an attempt that gave no grid has no vote.
        attempts: number of augmentations under which it was solved.
        mean_steps: mean number of supervision steps of an attempt.
        milliseconds: computing time.
    """

    task: Task
    number: int
    predictions: tuple[Prediction, ...]
    attempts: int
    mean_steps: float
    milliseconds: float

    @property
    def submitted(self) -> tuple[list[list[int]], ...]:
        """The two best predictions; a single one comes twice."""
        grids = [prediction.grid.tolist() for prediction in self.predictions[:PREDICTIONS]] or [NO_GRID]
        return tuple((grids * PREDICTIONS)[:PREDICTIONS])

    def right_within(self, predictions: int) -> bool | None:
        """Whether the task's own answer is among the N best; None where it is unknown."""
        answer = self.task.test[self.number].output
        if answer is None:
            return None
        return any(np.array_equal(answer, prediction.grid) for prediction in self.predictions[:predictions])

    def to_text(self, *, colour: bool) -> str:
        """The input and the two best predictions as drawings, and how they came about."""
        blocks = [["input", *arc.draw_grid(self.task.test[self.number].input, colour=colour)]]
        for place, prediction in enumerate(self.predictions[:PREDICTIONS], start=1):
            share = f"{prediction.votes} of {self.attempts} votes, confidence {prediction.confidence:.2f}"
            blocks.append([f"{place}: {share}", *arc.draw_grid(prediction.grid, colour=colour)])
        lines = [f"{self.task.place} test input {self.number + 1}", arc.side_by_side(blocks)]
        if not self.predictions:
            lines.append("NO GRID: no attempt gave one")
        if self.right_within(PREDICTIONS) is not None:
            first = "first prediction is right" if self.right_within(1) else "second prediction is right"
            lines.append(f"the {first}" if self.right_within(PREDICTIONS) else "neither prediction is right")
        lines.append(f"{self.mean_steps:.1f} steps an attempt, {self.milliseconds:.0f} ms")
        return "\n".join(lines) + "\n"

    def write_png(self, path: Path) -> None:
        """Draw the input and the two best predictions beside each other.

        Raises:
            MissingPackage: matplotlib is not installed.
            TrmDeployError: the file cannot be written.
        """
        predicted = [prediction.grid for prediction in self.predictions[:PREDICTIONS]]
        grids = [self.task.test[self.number].input, *predicted]
        write_plot(path, lambda axes: arc.plot_grids(axes, grids))


def read_files(names: Sequence[str], solutions: Sequence[str] = (), *, side: int = arc.SIDE) -> list[Task]:
    """As `read_each`; raises `InputError` where a task cannot be read or does not fit."""
    tasks = []
    for task in read_each(names, solutions, side=side):
        if isinstance(task, InputError):
            raise task
        tasks.append(task)
    return tasks


def read_each(names: Sequence[str], solutions: Sequence[str] = (), *, side: int = arc.SIDE) -> list[Task | InputError]:
    """The tasks of files, with the answers of solutions files; a complaint in the place of one that cannot be read, or
    whose test inputs do not fit a canvas of `side` x `side` cells.

    Raises:
        InputError: there is no such file, a solutions file cannot be read, or no task can be.
    """
    answers = read_solutions(solutions)
    found = [_answered(task, answers, side) for task in each_task(names)]
    faults = [task for task in found if isinstance(task, InputError)]
    if faults and len(faults) == len(found):
        raise faults[0]
    return found


def _answered(task: Task | InputError, answers: Solutions, side: int) -> Task | InputError:
    if isinstance(task, InputError):
        return task
    try:
        return fault(task, side) or with_solutions(task, answers)
    except InputError as error:
        return error


def check_submission_file(path: Path, *, inputs: Sequence[str | Path], force: bool) -> None:
    """Before the work: raises `InputError` where a submission may not be written at a path."""
    check_output(
        path,
        inputs=[Path(name) for name in inputs],
        replaceable=_is_submission,
        expected="a submission that run made",
        force=force,
    )


def _is_submission(path: Path) -> bool:
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    tasks = list(document.values()) if isinstance(document, dict) else []
    return bool(tasks) and all(
        isinstance(task, list) and all(isinstance(entry, dict) and "attempt_1" in entry for entry in task)
        for task in tasks
    )


def known_augmentations(engine: Path, puzzle_identifiers: int, tasks: Sequence[Task]) -> Known:
    """The augmentations of each task that the engine was trained with, in order of puzzle id: the task itself first.

    Args:
        engine: the artefact, with the map beside it.
        puzzle_identifiers: rows of its embedding table.
        tasks: what to look for.

    Raises:
        InputError: there is no map, it does not fit the engine or is malformed, or a task is not in it.
    """
    path = identifiers.path_of(engine)
    names = identifiers.read(engine)
    if names is None:
        raise InputError(
            f"{path}: there is no such file, so no task of ARC can be told from another",
            hint="copy the identifiers.json of the model's dataset there",
        )
    identifiers.check_count(names, puzzle_identifiers, path)
    known: Known = {task.name: [] for task in tasks}
    unused = []
    for number, name in enumerate(names):
        try:
            task, augmentation = (name, arc.IDENTITY) if name in known else arc.parse_identifier(name)
        except PuzzleError as error:
            if name.partition(arc.SEPARATOR)[0] in known:
                raise InputError(f"{path} entry {number}: {error}") from error
            continue
        if task in known:
            known[task].append((number, augmentation))
        elif LIKE_AN_AUGMENTATION.split(name)[0] in known:
            unused.append(name)
    if unused:
        count = (
            f"{len(unused):,} names look like augmentations of these tasks, are not spelled as ones, and are not used"
        )
        log.info("%s: %s, such as %s", path, count, shown(unused[0]))
    unknown = [task for task in tasks if not known[task.name]]
    if unknown:
        more = f" (nor {len(unknown) - 1} more)" if len(unknown) > 1 else ""
        raise InputError(
            f"{unknown[0].place}: the task {unknown[0].name!r}{more} is not in {path.name}: a model knows a task"
            " through the identifier that it was trained with, not through its demonstrations",
            hint="train with it: trm-deploy data build arc",
        )
    return known


def run(session: SolvingSession, tasks: Sequence[Task], options: SolveOptions) -> Iterator[VotedAnswer]:
    """Solve every test input of the tasks, under `options.attempts` augmentations each, all where None.

    Yields:
        One answer a test input, in the order of the input.

    Raises:
        InputError: see `known_augmentations`; before anything is solved.
    """
    known = known_augmentations(session.path, session.runtime.spec.task.puzzle_identifiers, tasks)
    most = max((len(known[task.name][: options.attempts]) for task in tasks), default=1)
    computing = session.executor(min(session.batch_size(options), most), options)
    limits = session.schedule(options).limits(0)
    assert isinstance(session.puzzle, arc.Arc)
    for task in tasks:
        for number in range(len(task.test)):
            augmentations = known[task.name][: options.attempts]
            grids = [augmentation.apply(task.test[number].input) for _, augmentation in augmentations]
            forms = np.stack([arc.to_tokens(grid, session.puzzle.side) for grid in grids])
            yield _solve(computing, limits, task, number, forms, augmentations)


def _solve(
    computing: Executor,
    limits: Limits,
    task: Task,
    number: int,
    forms: Tokens,
    augmentations: list[tuple[int, Augmentation]],
) -> VotedAnswer:
    """The votes on a test input, given as tokens int32 [n, L] under each augmentation."""
    puzzle_ids = np.array([puzzle_id for puzzle_id, _ in augmentations], np.int32)
    started = time.perf_counter()
    with progress(f"{task.name} test input {number + 1}", len(augmentations), unit="attempts") as advance:
        found = solve_all(computing, forms, limits, puzzle_ids, report=advance)
    milliseconds = (time.perf_counter() - started) * 1e3
    ballot = Ballot()
    steps = 0
    for (_, augmentation), attempt in zip(augmentations, found):
        ballot.vote(augmentation.invert(arc.crop(attempt.answer)), attempt.halt_logit)
        steps += attempt.steps
    return VotedAnswer(task, number, ballot.result(), len(augmentations), steps / len(augmentations), milliseconds)


class Ballot:
    """Counts which grids attempts agree on."""

    def __init__(self) -> None:
        self._grids: dict[tuple[tuple[int, ...], bytes], Grid] = {}
        self._confidences: dict[tuple[tuple[int, ...], bytes], list[float]] = {}

    def vote(self, grid: Grid, halt_logit: float) -> None:
        """An attempt's grid, in the task's own form; an empty one is none."""
        if not grid.size:
            return
        key = (grid.shape, grid.tobytes())
        self._grids[key] = grid
        # The sigmoid in a form that does not overflow.
        self._confidences.setdefault(key, []).append(0.5 * (1 + float(np.tanh(halt_logit / 2))))

    def result(self) -> tuple[Prediction, ...]:
        """The grids by votes, then by mean confidence, then in the order in which they came."""
        predictions = [
            Prediction(self._grids[key], len(found), float(np.mean(found))) for key, found in self._confidences.items()
        ]
        return tuple(sorted(predictions, key=lambda p: (p.votes, p.confidence), reverse=True))


def submission(answers: Sequence[VotedAnswer]) -> Submission:
    """The predictions in the form that the ARC Prize takes: of each task, two attempts at each of its test inputs."""
    document: Submission = {}
    for answer in answers:
        attempts = {f"attempt_{place}": grid for place, grid in enumerate(answer.submitted, start=1)}
        document.setdefault(answer.task.name, []).append(attempts)
    return document


def summary(answers: Sequence[VotedAnswer]) -> list[str]:
    """Lines on the run as a whole: what is right where answers are known, and what has no grid."""
    lines = []
    known = [answer for answer in answers if answer.right_within(1) is not None]
    if known:
        first, either = (sum(bool(answer.right_within(count)) for answer in known) for count in (1, PREDICTIONS))
        lines.append(
            f"right of {len(known)} test inputs: {first} by the first prediction, {either} by one of two;"
            f" averaged over the tasks {score(known, 1):.1%} and {score(known, PREDICTIONS):.1%}"
        )
    empty = sum(not answer.predictions for answer in answers)
    if empty:
        lines.append(f"no attempt gave a grid for {empty} test inputs: {NO_GRID} takes its place in a submission")
    return lines


def score(answers: Sequence[VotedAnswer], predictions: int) -> float:
    """The competition's score: the share of a task's test inputs that are right, averaged over the tasks.

    Args:
        answers: with a known answer each.
        predictions: how many of the best may be right.
    """
    shares: dict[str, list[bool]] = {}
    for answer in answers:
        shares.setdefault(answer.task.name, []).append(bool(answer.right_within(predictions)))
    return float(np.mean([np.mean(share) for share in shares.values()]))
