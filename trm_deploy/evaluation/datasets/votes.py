"""ARC tasks with solutions: the attempts at each test input vote, and the predictions are compared."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trm_deploy.errors import InputError
from trm_deploy.evaluation.datasets.report import Votes
from trm_deploy.evaluation.datasets.tally import Outcome, Tally
from trm_deploy.puzzles.arc_tasks import Task
from trm_deploy.runtimes.solving import voting
from trm_deploy.runtimes.solving.session import SolveOptions, SolvingSession
from trm_deploy.runtimes.solving.voting import PREDICTIONS, VotedAnswer
from trm_deploy.support.progress import progress

log = logging.getLogger(__name__)

CHALLENGES, SOLUTIONS = "challenges", "solutions"


@dataclass(frozen=True)
class Voted:
    """What came of the tasks.

    Attributes:
        overall: what was counted of all test inputs.
        votes: what the predictions come to.
        unreadable: tasks that could not be read.
    """

    overall: Tally
    votes: Votes
    unreadable: int


def evaluate_tasks(
    session: SolvingSession, dataset: str, solutions: Sequence[str], options: SolveOptions, limit: int | None
) -> Voted:
    """Solve the tasks of a file or folder and compare with their answers.

    Args:
        session: a model for ARC.
        dataset: the file or folder.
        solutions: files with the answers; where none is named, the one beside the file that its name tells of.
        options: how to solve.
        limit: use the first N tasks; all where None.

    Raises:
        InputError: the tasks cannot be read, or nobody knows an answer to one of them.
    """
    found = voting.read_each([dataset], solutions or beside(Path(dataset)))
    for item in found:
        if isinstance(item, InputError):
            log.error("%s", item)
    tasks = [item for item in found if isinstance(item, Task)][:limit]
    if not any(pair.output is not None for task in tasks for pair in task.test):
        raise InputError(
            f"{dataset}: holds no answer to its test inputs", hint="add the file that does: --solutions FILE"
        )
    answers = []
    overall = Tally()
    with progress("evaluating", sum(len(task.test) for task in tasks), unit="test inputs") as advance:
        for answer in voting.run(session, tasks, options):
            answers.append(answer)
            overall.add(_outcome(answer))
            advance(1, f"{overall.exact} of {overall.known} right")
    known = [answer for answer in answers if answer.right_within(1) is not None]
    votes = Votes(
        within_two=float(np.mean([bool(answer.right_within(PREDICTIONS)) for answer in known])),
        task_score=voting.score(known, 1),
        task_score_within_two=voting.score(known, PREDICTIONS),
        augmentations=float(np.mean([answer.attempts for answer in answers])),
    )
    return Voted(overall, votes, sum(isinstance(item, InputError) for item in found))


def beside(dataset: Path) -> list[str]:
    """The solutions that belong to challenges by their names, as the ARC Prize calls both; all those of a folder."""
    files = sorted(dataset.rglob(f"*{SOLUTIONS}*.json*")) if dataset.is_dir() else []
    if not dataset.is_dir() and CHALLENGES in dataset.name:
        files = [dataset.with_name(dataset.name.replace(CHALLENGES, SOLUTIONS))]
    files = [path for path in files if path.is_file() and path.name.endswith((".json", ".json.gz"))]
    for path in files:
        log.info("taking the answers from %s", path)
    return [str(path) for path in files]


def _outcome(answer: VotedAnswer) -> Outcome:
    exact = answer.right_within(1)
    expected = answer.task.test[answer.number].output
    cells = None
    if expected is not None:
        cells = 0.0
        if answer.predictions and answer.predictions[0].grid.shape == expected.shape:
            cells = float((answer.predictions[0].grid == expected).mean())
    return Outcome(exact, cells, None, None, answer.mean_steps, answer.mean_steps * answer.attempts)
