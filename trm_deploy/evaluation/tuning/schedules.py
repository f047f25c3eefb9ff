"""Schedules of attempts, compared on one recorded pass: how often to ask again, and how long to think each time.

Whether an attempt under a random symmetry solves a puzzle, and after how many supervision steps, is a random variable:
a Las Vegas algorithm that may be cut off and begun anew. Luby, Sinclair and Zuckerman ("Optimal speedup of Las Vegas
algorithms", Information Processing Letters 47, 1993) show that for a known distribution a fixed cutoff is best, and
that for an unknown one the sequence 1, 1, 2, 1, 1, 2, 4, ... costs at most a logarithmic factor more. A geometric
sequence is what search programs use. A set of puzzles is a mixture of distributions, so neither theorem says which is
best for all of them together: the pass decides.

The pass runs each puzzle in its first forms, in the order in which `run` tries them, and records after which step the
answer obeys the rules. What a schedule would do follows from it without another run.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from trm_deploy.artefacts.record import RecordedSchedule
from trm_deploy.puzzles.base import Puzzle
from trm_deploy.runtimes.base import Int32, StepRuntime, initial_numpy_state
from trm_deploy.runtimes.solving.attempts import Forms, Schedule

# Attempts that a schedule may make, and those that are recorded.
ATTEMPTS = 64
# Schedules whose verified shares differ by less are as good, in points.
CLOSE = 0.25


@dataclass(frozen=True)
class Attempted:
    """One attempt as it was recorded.

    Attributes:
        right: whether the answer obeyed the rules after each step, up to the one after which it halted, or to the limit
            up to which it was recorded: no schedule that is still undecided then asks for more.
    """

    right: tuple[bool, ...]

    def cut(self, steps: int) -> tuple[int, bool]:
        """What a limit of `steps` makes of it: steps taken, and whether the answer was right then."""
        taken = min(len(self.right), steps)
        return taken, self.right[taken - 1]


@dataclass(frozen=True)
class Family:
    """A way to choose the limits of attempts 1, 2, ...: supervision steps each."""

    name: str
    limits: tuple[int, ...]

    @property
    def attempt_steps(self) -> tuple[int, ...]:
        """The same as `--attempt-steps` takes it: what repeats at the end is left out."""
        kept = len(self.limits)
        while kept > 1 and self.limits[kept - 2] == self.limits[-1]:
            kept -= 1
        return self.limits[:kept]


@dataclass(frozen=True)
class Outcome:
    """What a schedule gives.

    Attributes:
        family: its name.
        attempts: maximum number a puzzle.
        attempt_steps: maximum number of supervision steps of each; the last repeats.
        verified: share of puzzles, 0 to 1.
        steps: supervision steps a puzzle, of all attempts.
    """

    family: str
    attempts: int
    attempt_steps: tuple[int, ...]
    verified: float
    steps: float

    @property
    def schedule(self) -> RecordedSchedule:
        """The same as a build record holds it."""
        return RecordedSchedule(attempts=self.attempts, attempt_steps=self.attempt_steps)


def luby(number: int) -> int:
    """Entry `number`, from 1, of 1, 1, 2, 1, 1, 2, 4, 1, 1, 2, 1, 1, 2, 4, 8, ... (Luby et al. 1993, section 3)."""
    power = number.bit_length()
    if number == (1 << power) - 1:
        return 1 << (power - 1)
    return luby(number - (1 << (power - 1)) + 1)


def families(max_steps: int) -> list[Family]:
    """Fixed cutoffs, Luby's sequence in several units, and geometric sequences, each up to `max_steps` an attempt."""

    def limited(values: Iterator[float]) -> tuple[int, ...]:
        return tuple(min(max(round(value), 1), max_steps) for value in itertools.islice(values, ATTEMPTS))

    fixed = [Family(f"fixed {steps}", (steps,) * ATTEMPTS) for steps in range(1, max_steps + 1)]
    units = [unit for unit in (1, 2, 3, 4) if unit <= max_steps]
    by_luby = [
        Family(f"Luby x {unit}", limited(float(unit * luby(number)) for number in itertools.count(1))) for unit in units
    ]
    geometric = [
        Family(f"geometric {unit} x {ratio:g}", limited(unit * ratio**number for number in range(ATTEMPTS)))
        for unit in units
        for ratio in (1.05, 1.1, 1.2, 1.5, 2.0)
    ]
    return [*fixed, *by_luby, *geometric]


def outcome(recorded: Sequence[Sequence[Attempted]], family: Family, attempts: int) -> Outcome:
    """What up to `attempts` attempts with a family's limits give on recorded puzzles."""
    verified = steps = 0
    for puzzle in recorded:
        for attempted, limit in zip(puzzle[:attempts], family.limits):
            taken, right = attempted.cut(limit)
            steps += taken
            if right:
                verified += 1
                break
    count = len(recorded)
    return Outcome(family.name, attempts, family.attempt_steps, verified / count, steps / count)


def recommend(outcomes: Sequence[Outcome], max_steps: float | None = None) -> Outcome:
    """Of the schedules that verify most (`CLOSE` points more or less), the one with the fewest steps.

    Args:
        outcomes: what there is.
        max_steps: supervision steps a puzzle that it may take, on average; None: any number.
    """
    within = [found for found in outcomes if max_steps is None or found.steps <= max_steps] or list(outcomes)
    most = max(found.verified for found in within)
    enough = [found for found in within if found.verified >= most - CLOSE / 100 - 1e-9]
    return min(enough, key=lambda found: (found.steps, found.attempts, len(found.attempt_steps)))


def record(
    runtime: StepRuntime,
    puzzle: Puzzle,
    questions: Int32,
    candidates: Sequence[Family],
    *,
    halt_threshold: float,
    seed: int = 0,
    slots: int = 8,
    advance: Callable[[int], None] = lambda count: None,
) -> list[list[Attempted]]:
    """Attempt each puzzle in its first forms, one after the other, until it is known what every candidate makes of it.

    Args:
        runtime: does single steps.
        puzzle: the task.
        questions: int32 [N, L].
        candidates: the schedules to compare.
        halt_threshold: an attempt ends when its halting logit exceeds it.
        seed: random seed for the symmetries.
        slots: attempts at a time.
        advance: called with the number of puzzles that have just been finished.

    Returns:
        For each puzzle its attempts, in order.
    """
    forms = Forms(puzzle, Schedule(ATTEMPTS, (1,), halt_threshold, seed))
    found: list[list[Attempted]] = [[] for _ in questions]
    waiting = iter(range(len(questions)))
    tokens = np.zeros((slots, questions.shape[1]), np.int32)
    owner, limit = np.full(slots, -1), np.zeros(slots, int)
    right: list[list[bool]] = [[] for _ in range(slots)]
    reset = np.ones(slots, np.bool_)
    y, z = initial_numpy_state(runtime.spec, slots)

    def begin(slot: int, number: int) -> bool:
        """Put a puzzle's next attempt into a slot; False where nothing more is to be known of it."""
        steps = steps_needed(found[number], candidates) if forms.has(len(found[number])) else 0
        if steps:
            tokens[slot] = forms.apply(len(found[number]), questions[number])
            owner[slot], limit[slot], reset[slot], right[slot] = number, steps, True, []
        return bool(steps)

    for slot in range(slots):
        if (number := next(waiting, None)) is not None:
            begin(slot, number)
    while (owner >= 0).any():
        result = runtime.step(tokens, reset, y, z)
        y, z = result.y, result.z
        answers = np.asarray(result.answer)
        reset = owner < 0
        for slot in map(int, np.flatnonzero(owner >= 0)):
            number = int(owner[slot])
            answer = forms.invert(len(found[number]), answers[slot])
            right[slot].append(not puzzle.answer_faults(questions[number], answer))
            if result.halt_logit[slot] <= halt_threshold and len(right[slot]) < limit[slot]:
                continue
            found[number].append(Attempted(tuple(right[slot])))
            if begin(slot, number):
                continue
            advance(1)
            owner[slot], reset[slot] = -1, True
            if (following := next(waiting, None)) is not None:
                begin(slot, following)
    return found


def steps_needed(known: Sequence[Attempted], candidates: Sequence[Family]) -> int:
    """Supervision steps of a puzzle's next attempt that some candidate asks for; 0 where all are decided."""
    number = len(known)
    if number >= ATTEMPTS:
        return 0
    undecided = (
        family
        for family in candidates
        if not any(attempted.cut(limit)[1] for attempted, limit in zip(known, family.limits))
    )
    return max((family.limits[number] for family in undecided), default=0)
