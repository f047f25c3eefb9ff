"""From an opened model and a dataset to a report."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from trm_deploy.errors import InputError
from trm_deploy.evaluation.datasets import votes
from trm_deploy.evaluation.datasets.examples import (
    Example,
    folder_examples,
    published_folder,
    rating_column,
    text_questions,
)
from trm_deploy.evaluation.datasets.report import Evaluation
from trm_deploy.evaluation.datasets.tally import Outcome, Tally, grouped
from trm_deploy.puzzles import reading
from trm_deploy.puzzles.base import TextPuzzle
from trm_deploy.runtimes.solving.attempts import solve_stream
from trm_deploy.runtimes.solving.scheduling import Request, solve_each
from trm_deploy.runtimes.solving.session import SolveOptions, SolvingSession
from trm_deploy.support.files import is_regular_file
from trm_deploy.support.progress import progress
from trm_deploy.train.data.layout import SPLITS

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings:
    """What is evaluated, beside how puzzles are solved.

    Attributes:
        split: of a folder in the published layout: "train" or "test".
        limit: use the first N puzzles; of ARC the first N tasks; all where None.
        by: column of the file by which puzzles are grouped; None: the one that rates them, if any.
        solutions: files with the answers to ARC tasks.
        input_format, column: of puzzle text, see `trm_deploy.puzzles.text.read`.
    """

    split: str = "test"
    limit: int | None = None
    by: str | None = None
    solutions: tuple[str, ...] = ()
    input_format: str | None = None
    column: str | None = None

    def __post_init__(self) -> None:
        if self.split not in SPLITS:
            raise InputError(f"--split is {self.split!r}, expected one of {', '.join(SPLITS)}")
        if self.limit is not None and self.limit < 1:
            raise InputError(f"--limit is {self.limit}, expected at least 1")


@dataclass
class _Found:
    """What reading a dataset brings to light on the way.

    Attributes:
        by: column that rates the puzzles; empty where none does.
        unreadable: puzzles that could not be read.
        broken: known answers that break the task's rules.
        broken_at: the place of the first of them.
    """

    by: str = ""
    unreadable: int = 0
    broken: int = 0
    broken_at: str = ""


def evaluate(session: SolvingSession, dataset: str, options: SolveOptions, settings: EvaluateSettings) -> Evaluation:
    """Solve a dataset's puzzles and compare the answers with the known ones.

    Where the caller says nothing of attempts, their steps or the budget, each puzzle is tried once, with the model's
    own steps; ARC tasks under each augmentation that was trained.

    Args:
        session: the opened model.
        dataset: a folder in the published layout, a file with puzzles and their answers, or ARC tasks.
        options: how to solve.
        settings: what to evaluate.

    Raises:
        InputError: the dataset cannot be read, has no puzzle, is of another task, or says of no answer whether it is
            right.
    """
    folder = published_folder(Path(dataset), settings.split) if _is_folder(dataset) else None
    is_text = isinstance(session.puzzle, TextPuzzle)
    _check_that_all_apply(settings, in_folder=folder is not None, is_text=is_text, task=session.puzzle.name)
    if folder is None and is_text and _is_folder(dataset):
        raise InputError(
            f"{dataset}: is a folder, and not one in the published layout (test/dataset.json, test/all__inputs.npy)",
            hint="name its folder, or a file with puzzles and answers",
        )
    if folder is None and not is_text:
        if options.speculate is not None:
            raise InputError("--speculate is for answers that rules verify, not for ARC's votes", hint="leave it out")
        return _tasks(session, dataset, options, settings)
    if (options.attempts, options.attempt_steps, options.budget) == (None, None, None):
        options = replace(options, attempts=1)
    found = _Found()
    total: int | None
    if folder is not None:
        count, examples = folder_examples(session, *folder)
        total = min(count, settings.limit or count)
    else:
        total = _expected(dataset, settings.limit)
        examples = _of_text(session, dataset, settings, found)
    tallies: dict[str, Tally] = {}
    overall = Tally()
    with progress("evaluating", total, unit="puzzles") as advance:
        for example, outcome in _solved(session, itertools.islice(examples, settings.limit), options):
            tallies.setdefault(example.rating, Tally()).add(outcome)
            overall.add(outcome)
            advance(1, _so_far(overall))
    if not overall.puzzles:
        raise InputError(f"{dataset}: none of its puzzles can be read")
    return Evaluation(
        engine=str(session.path),
        description=session.runtime.description,
        task=session.puzzle.name,
        dataset=dataset,
        split=settings.split if folder is not None and folder[1] else "",
        schedule=session.schedule(options),
        overall=overall,
        by=found.by,
        groups=grouped(tallies) if found.by else {},
        unreadable=found.unreadable,
        notes=tuple(_notes(overall, found, folder is not None and not session.puzzle.has_rules)),
    )


def _is_folder(name: str) -> bool:
    try:
        return Path(name).is_dir()
    except (OSError, ValueError):
        return False


def _check_that_all_apply(settings: EvaluateSettings, *, in_folder: bool, is_text: bool, task: str) -> None:
    """An option that would do nothing is a misunderstanding."""
    for flag, given, applies, where in (
        ("--split", settings.split != "test", in_folder, "a folder in the published layout"),
        ("--by", settings.by is not None, is_text and not in_folder, "a file with named columns"),
        ("--column", settings.column is not None, is_text and not in_folder, "a file with puzzles in text"),
        ("--input-format", settings.input_format is not None, is_text and not in_folder, "a file with puzzles in text"),
        ("--solutions", bool(settings.solutions), not is_text and not in_folder, f"ARC tasks, not for {task}"),
    ):
        if given and not applies:
            raise InputError(f"{flag} is for {where}", hint=f"leave out {flag}")


def _expected(name: str, limit: int | None) -> int | None:
    """About how many puzzles a file has; None where nobody knows."""
    if not is_regular_file(name):
        return limit
    lines = reading.estimate_lines(name)
    return lines if limit is None else min(lines, limit)


def _of_text(session: SolvingSession, name: str, settings: EvaluateSettings, found: _Found) -> Iterator[Example]:
    questions = text_questions(session, name, input_format=settings.input_format, column=settings.column)
    chosen: str | None = None
    for question in questions:
        if question.tokens is None:
            found.unreadable += 1
            log.error("%s", question.error)
            continue
        if chosen is None:
            chosen = found.by = rating_column(question, settings.by, name)
        if question.answer is not None and session.puzzle.answer_faults(question.tokens, question.answer):
            found.broken += 1
            found.broken_at = found.broken_at or question.place
        rating = (question.columns or {}).get(chosen, "") if chosen else ""
        yield Example(question.tokens, question.answer, rating=rating.strip())


def _solved(
    session: SolvingSession, examples: Iterator[Example], options: SolveOptions
) -> Iterator[tuple[Example, Outcome]]:
    """Each example with what became of it; by rules in the order of the examples, else as they end."""
    schedule = session.schedule(options)
    size = session.batch_size(options)
    if options.batch_size is None:
        head = list(itertools.islice(examples, size))  # small datasets get small batches
        size, examples = max(1, len(head)), itertools.chain(head, examples)
    computing = session.executor(size, options)
    if session.puzzle.has_rules:
        found = solve_stream(
            computing,
            session.puzzle,
            examples,
            schedule,
            tokens=lambda example: example.tokens,
            puzzle_id=lambda example: example.puzzle_id,
            speculate=options.speculate,
        )
        for example, best in found:
            assert best is not None
            compared = example.compared(best.answer)
            yield example, Outcome(*compared, best.verified, best.halted, best.steps, best.total_steps)
        return
    if schedule.attempts > 1:
        raise InputError(
            f"--attempts is {schedule.attempts}: no rule tells whether an answer to {session.puzzle.name} is right and"
            " another attempt is needed",
            hint="leave it out; name the tasks' JSON files for answers that vote",
        )
    limits = schedule.limits(0)
    requests = (Request(example, example.tokens, limits, example.puzzle_id) for example in examples)
    for finished in solve_each(computing, requests):
        answered: Example = finished.key
        compared = answered.compared(finished.answer)
        yield answered, Outcome(*compared, None, finished.halted, finished.steps, finished.steps)


def _so_far(tally: Tally) -> str:
    if tally.known:
        return f"{tally.exact / tally.known:.1%} exact"
    return f"{tally.verified / tally.checked:.1%} verified" if tally.checked else ""


def _notes(overall: Tally, found: _Found, without_votes: bool) -> Iterator[str]:
    if not overall.known:
        yield "no answer is known: the rules alone tell which answers are right"
    elif overall.known < overall.puzzles:
        yield f"{overall.puzzles - overall.known} of {overall.puzzles} puzzles have no whole answer beside them"
    if found.broken:
        yield f"{found.broken} of the known answers break the rules, the first at {found.broken_at}"
    if found.unreadable:
        yield f"{found.unreadable} puzzles cannot be read and are not counted"
    if without_votes:
        yield "each example is solved once and by itself; for votes over augmentations name the tasks' JSON files"


def _tasks(session: SolvingSession, dataset: str, options: SolveOptions, settings: EvaluateSettings) -> Evaluation:
    voted = votes.evaluate_tasks(session, dataset, settings.solutions, options, settings.limit)
    without = voted.overall.puzzles - voted.overall.known
    notes = [f"{without} of {voted.overall.puzzles} test inputs have no known answer"] * bool(without)
    notes += [f"{voted.unreadable} tasks cannot be read and are not counted"] * bool(voted.unreadable)
    return Evaluation(
        engine=str(session.path),
        description=session.runtime.description,
        task=session.puzzle.name,
        dataset=dataset,
        split="",
        schedule=session.schedule(options),
        overall=voted.overall,
        unreadable=voted.unreadable,
        votes=voted.votes,
        notes=tuple(notes),
    )
