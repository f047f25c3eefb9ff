"""Which answers are right: the one loop that solves a set of puzzles and counts what came of it.

N puzzles, L tokens.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from trm_deploy.puzzles.base import Puzzle
from trm_deploy.runtimes.base import Int32, Runtime
from trm_deploy.runtimes.solving.attempts import Attempts, Forms, Schedule
from trm_deploy.runtimes.solving.scheduling import Executor, Finished, executor, solve_all

# Puzzles at a time.
BATCH = 32

Bools = NDArray[np.bool_]
# Tells from answers int32 [N, L] which are right.
Judge = Callable[[Int32], Bools]
Progress = Callable[[int], None]


@dataclass(frozen=True)
class Shares:
    """Shares are of all puzzles, 0 to 1; None where nobody knows which answers are right.

    Attributes:
        solved: the first attempt's answer is right.
        verified: an answer within the attempts is right.
        halted: the first attempt halted by itself.
        halted_wrong: the first attempt halted by itself on a wrong answer.
        mean_steps: supervision steps of the first attempt, a puzzle.
        mean_total_steps: supervision steps of all attempts, a puzzle.
    """

    solved: float | None
    verified: float | None
    halted: float
    halted_wrong: float | None
    mean_steps: float
    mean_total_steps: float


@dataclass(frozen=True)
class Accuracy:
    """What became of each of N puzzles.

    Attributes:
        answer: int32 [N, L], of the first attempt.
        steps: int32 [N], supervision steps of the first attempt.
        halted: bool [N], whether the first attempt's halting logit exceeded the threshold.
        solved: bool [N], whether the first attempt's answer is right; None where nobody knows.
        verified: bool [N], whether an answer within the attempts is right; None where nobody knows.
        attempts: int32 [N], made until one was right or none was left.
        total_steps: int32 [N], supervision steps of all attempts.
    """

    answer: Int32
    steps: Int32
    halted: Bools
    solved: Bools | None
    verified: Bools | None
    attempts: Int32
    total_steps: Int32

    @property
    def halted_wrong(self) -> Bools | None:
        """Which first attempts halted on a wrong answer, bool [N]; None where nobody knows."""
        return None if self.solved is None else self.halted & ~self.solved

    def shares(self) -> Shares:
        """The same as shares and means over the puzzles."""
        return Shares(
            solved=share(self.solved),
            verified=share(self.verified),
            halted=float(self.halted.mean()),
            halted_wrong=share(self.halted_wrong),
            mean_steps=float(self.steps.mean()),
            mean_total_steps=float(self.total_steps.mean()),
        )


def share(which: Bools | None) -> float | None:
    """The share of True, 0 to 1; None where nobody knows."""
    return None if which is None else float(which.mean())


def right_answers(puzzle: Puzzle, questions: Int32, answers: Int32) -> Bools:
    """Which answers int32 [N, L] obey the rules and keep the givens of their questions int32 [N, L]; bool [N]."""
    return np.array([not puzzle.answer_faults(question, answer) for question, answer in zip(questions, answers)], bool)


def by_rules(puzzle: Puzzle | None, questions: Int32) -> Judge | None:
    """The judge of answers to questions int32 [N, L]; None without a task, or for a task without rules."""
    if puzzle is None or not puzzle.has_rules:
        return None
    return lambda answers: right_answers(puzzle, questions, answers)


def solve(
    runtime: Runtime,
    questions: Int32,
    schedule: Schedule,
    *,
    judge: Judge | None,
    puzzle: Puzzle | None = None,
    puzzle_ids: Int32 | None = None,
    batch: int = BATCH,
    in_flight: bool | None = None,
    begun: Sequence[Finished] = (),
    report: Progress = lambda count: None,
) -> Accuracy:
    """Solve questions, and tell which answers are right.

    Every puzzle's first attempt comes first; then those that it leaves unsolved share batches for their further ones.

    Args:
        runtime: computes.
        questions: int32 [N, L].
        schedule: attempts and limits.
        judge: tells which first answers are right, see `by_rules`; None where nobody knows.
        puzzle: the task, for further attempts; without it or a judge there is one attempt.
        puzzle_ids: int32 [N], of every attempt at each; None: puzzle 0.
        batch: puzzles at a time, fewer where the runtime takes fewer.
        in_flight: see `executor`.
        begun: the first attempts at the first of the questions, in their order, where these are known already.
        report: called with the number of first attempts that have just ended.

    Raises:
        InputError: in-flight batching of an engine without the step form.
    """
    computing = executor(runtime, min(batch, len(questions), runtime.largest_batch or batch), in_flight=in_flight)
    report(len(begun))
    rest_ids = None if puzzle_ids is None else puzzle_ids[len(begun) :]
    firsts = [*begun, *solve_all(computing, questions[len(begun) :], schedule.limits(0), rest_ids, report=report)]
    answer = np.stack([first.answer for first in firsts])
    steps = np.array([first.steps for first in firsts], np.int32)
    halted = np.array([first.halted for first in firsts], bool)
    solved = None if judge is None else judge(answer)
    verified, attempts, total_steps = solved, np.ones_like(steps), steps.copy()
    if solved is not None and puzzle is not None and schedule.attempts > 1:
        verified = solved.copy()
        forms = Forms(puzzle, schedule)
        unsolved = {
            int(row): _begun(forms, questions[row], 0 if puzzle_ids is None else int(puzzle_ids[row]), firsts[row])
            for row in np.flatnonzero(~solved)
        }
        _finish(computing, unsolved.values())
        for row, tried in unsolved.items():
            assert tried.best is not None
            verified[row] = tried.best.verified
            attempts[row], total_steps[row] = tried.best.attempts, tried.best.total_steps
    return Accuracy(answer, steps, halted, solved, verified, attempts, total_steps)


def _begun(forms: Forms, question: Int32, puzzle_id: int, first: Finished) -> Attempts:
    """The attempts at a question, of which the first has ended."""
    attempts = Attempts(forms, question, puzzle_id)
    request = attempts.next()
    assert request is not None
    attempts.record(replace(first, key=request.key))
    return attempts


def _finish(computing: Executor, begun: Iterable[Attempts]) -> None:
    """Compute attempts until none is left."""
    waiting = deque(attempts for attempts in begun if not attempts.done)
    while waiting or computing.busy:
        while computing.free and waiting:
            request = waiting.popleft().next()
            assert request is not None
            computing.admit(request)
        for finished in computing.advance():
            attempts: Attempts = finished.key[0]
            attempts.record(finished)
            if not attempts.done:
                waiting.append(attempts)
