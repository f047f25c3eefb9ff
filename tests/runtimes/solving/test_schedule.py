"""Which schedule holds: the flags', else the record's, else the task's; and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.artefacts.test_record import BUILT
from tests.conftest import ASSETS, tiny_spec
from tests.fakes import Call, FakeRuntime, solution
from trm_deploy import puzzles
from trm_deploy.artefacts.record import DEFAULT_ATTEMPTS, BuildRecord, RecordedSchedule
from trm_deploy.errors import InputError
from trm_deploy.runtimes.base import Solution
from trm_deploy.runtimes.solving.session import SolveOptions, SolvingSession, open_session


def session(
    *, built: BuildRecord | None = None, task: str = "sudoku-4x4", fixed_steps: int | None = None
) -> SolvingSession:
    def answer(call: Call) -> Solution:
        return solution(call.tokens, steps=call.max_steps, halt_logit=-1.0, vocabulary=6)

    spec = tiny_spec("trm-mlp")  # six steps of its own
    return SolvingSession(Path("x.onnx"), FakeRuntime(spec, answer, fixed_steps=fixed_steps), puzzles.get(task), built)


def limits(opened: SolvingSession, **options: object) -> tuple[int, tuple[int, ...], int | None]:
    schedule = opened.schedule(SolveOptions(**options))  # type: ignore[arg-type]
    return schedule.attempts, schedule.attempt_steps, schedule.budget


def test_without_flags_the_record_decides_and_without_a_record_the_task() -> None:
    assert limits(session(built=BUILT)) == (64, (3, 3, 16), 100)
    assert limits(session(built=replace(BUILT, schedule=None))) == (DEFAULT_ATTEMPTS, (6,), None)
    assert limits(session()) == (DEFAULT_ATTEMPTS, (6,), None)
    assert limits(session(built=BUILT, task="arc")) == (1, (6,), None)


def test_any_flag_takes_the_place_of_the_whole_default() -> None:
    opened = session(built=BUILT)
    assert limits(opened, attempts=4) == (4, (6,), None), "alone it keeps the model's own steps"
    assert limits(opened, attempts=1) == (1, (6,), None)
    assert limits(opened, attempt_steps=(2, 5)) == (1, (2, 5), None)
    assert limits(opened, budget=40) == (40, (6,), 40), "as many attempts as it pays for"
    assert limits(opened, attempts=3, attempt_steps=(2,), budget=5) == (3, (2,), 5)
    assert limits(opened, halt_threshold=1.0)[0] == 64, "the threshold does not belong to a schedule"


def test_the_last_of_the_steps_repeats() -> None:
    schedule = session(built=BUILT).schedule(SolveOptions())
    assert [schedule.limits(number).max_steps for number in range(5)] == [3, 3, 16, 16, 16]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"attempts": 0}, "--attempts is 0, expected at least 1"),
        ({"budget": 0}, "--budget is 0, expected at least 1"),
        ({"attempt_steps": ()}, r"--attempt-steps is \[\], expected numbers of at least 1"),
        ({"attempt_steps": (3, 0)}, r"--attempt-steps is \[3, 0\]"),
    ],
)
def test_numbers_that_make_no_sense(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        SolveOptions(**options)  # type: ignore[arg-type]


def test_a_schedule_needs_rules() -> None:
    arc = session(task="arc")
    for options in ({"budget": 9}, {"attempt_steps": (3, 16)}):
        with pytest.raises(InputError, match=r"no rule tells whether an answer to arc is right.*leave it out"):
            limits(arc, **options)
    assert limits(arc, attempt_steps=(3,)) == (1, (3,), None)


def test_an_unrolled_engine_keeps_its_number_of_steps() -> None:
    unrolled = session(fixed_steps=4)
    assert limits(unrolled) == (DEFAULT_ATTEMPTS, (4,), None)
    with pytest.raises(InputError, match="this engine is unrolled to 4 steps"):
        limits(unrolled, attempt_steps=(4, 3))


def test_the_shipped_model_has_its_own() -> None:
    for file in ("sudoku.onnx", "sudoku-step.onnx"):
        opened = open_session(ASSETS / file)
        assert isinstance(opened.default_schedule, RecordedSchedule)
        assert opened.built is not None
        assert opened.built.schedule == opened.default_schedule
        assert opened.default_schedule.attempts > DEFAULT_ATTEMPTS
