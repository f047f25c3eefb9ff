"""A session from puzzles to answers: what is read once, what JSON says, what a text may be."""

from __future__ import annotations

import logging
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import random_model, tiny_spec
from tests.fakes import FakeRuntime, solution
from trm_deploy import puzzles
from trm_deploy.errors import InputError, TrmDeployError
from trm_deploy.puzzles import reading
from trm_deploy.runtimes.backends.pytorch import TorchRuntime
from trm_deploy.runtimes.solving import session as sessions
from trm_deploy.runtimes.solving.files import FileRun
from trm_deploy.runtimes.solving.session import SolveOptions, SolvingSession, open_session
from trm_deploy.support import files, locks

LINE = "..34341221434321"
LINES = [f"{number}{LINE[1:]}" for number in (".", 1)] * 10
NINE = "53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79"


@pytest.fixture
def session() -> SolvingSession:
    return SolvingSession(Path("tiny.pt"), TorchRuntime(random_model(tiny_spec("trm-mlp"))), puzzles.get("sudoku-4x4"))


def lines_of(session: SolvingSession, *names: str, **options: Any) -> list[dict[str, Any]]:
    with FileRun(session, names, SolveOptions(**options)) as run:
        return [answer.to_plain() for answer in run]


@pytest.mark.parametrize("count", [1, 3, 20])
def test_a_file_is_opened_and_read_once(
    session: SolvingSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    path = tmp_path / "p.txt"
    path.write_text("\n".join(LINES[:count]))
    read: list[str] = []
    inner = reading.read

    def counted(name: str, puzzle: Any, **options: Any) -> Iterator[reading.Question]:
        read.append(name)
        return inner(name, puzzle, **options)

    monkeypatch.setattr(reading, "read", counted)
    source = session.read([str(path)], SolveOptions())
    assert source.slots == min(count, 8)
    assert len(list(source.questions)) == count
    assert read == [str(path)]


def test_an_artefact_s_record_is_checked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[Path] = []
    inner = files.sha256

    def counted(path: Path) -> str:
        hashed.append(path)
        return inner(path)

    monkeypatch.setattr("trm_deploy.artefacts.record.sha256", counted)
    opened = open_session()
    assert opened.assumed
    options = SolveOptions()
    assert opened.halt_threshold(options) == 0.0
    assert opened.halt_threshold(SolveOptions(halt_threshold=math.inf)) == math.inf
    opened.schedule(options)
    opened.executor(4, options)
    assert hashed == [sessions.shipped_engine("step")]


def test_rows_of_a_table_come_with_line_columns_and_whether_they_are_correct(tmp_path: Path) -> None:
    always = np.full((1, 16), 5, np.int32)  # 4444...: an answer, though a wrong one
    spec = tiny_spec("trm-mlp")
    runtime = FakeRuntime(spec, lambda call: solution(always, steps=1, halt_logit=1.0, vocabulary=6))
    session = SolvingSession(Path("fake.onnx"), runtime, puzzles.get("sudoku-4x4"))
    (plain,) = lines_of(session, LINE)
    path = tmp_path / "p.csv"
    path.write_text(
        f"id,puzzle,rating,solution\na,{LINE},3,{plain['answer']}\nb,{LINE},,{'1' * 16}\nc,{LINE},,?\nd,1z,2,{LINE}\n"
    )
    right, wrong, unknown, bad = lines_of(session, str(path), batch_size=1)
    assert [line["line"] for line in (right, wrong, unknown, bad)] == [2, 3, 4, 5]
    assert right["columns"] == {"id": "a", "rating": "3", "solution": plain["answer"]}
    assert [line["correct"] for line in (right, wrong, unknown)] == [True, False, None]
    assert bad["columns"]["id"] == "d"
    assert "p.csv line 5 column 4" in bad["error"]
    assert "correct" not in bad
    # What is not a table has the keys that it always had.
    assert set(plain) == {
        "puzzle", "answer", "steps", "attempts", "total_steps", "halted", "halt_logit", "verified", "milliseconds",
    }  # fmt: skip
    with FileRun(session, [str(path)], SolveOptions()) as run:
        for _ in run:
            pass
    assert (run.totals.answered, run.totals.unreadable, run.totals.known, run.totals.correct) == (3, 1, 2, 1)
    text = run.totals.to_text()
    assert text.startswith("3 puzzles, 0 verified, 1 unreadable, 1 of 2 equal to the known answers, in ")
    assert f"{3 / run.totals.work.seconds:.1f} puzzles a second" in text


def test_there_is_no_rate_where_nothing_was_computed(session: SolvingSession, tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("rubbish\nmore rubbish\n")
    with FileRun(session, [str(tmp_path / "p.txt")], SolveOptions()) as run:
        assert [bool(answer.error) for answer in run] == [True, True]
    assert run.totals.to_text() == "0 puzzles, 0 verified, 2 unreadable"
    assert run.unreadable == 2


def test_a_puzzle_itself_may_be_given_instead_of_a_file(
    session: SolvingSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.txt").write_text(LINE)
    grid = "\n".join(LINE[row : row + 4] for row in range(0, 16, 4))
    expected = [line["answer"] for line in lines_of(session, "p.txt", LINE, grid, batch_size=1)]
    assert len(expected) == 3
    assert len(set(expected)) == 1
    (bad,) = lines_of(session, "z" * 16)
    assert "argument line 1 column 1: found 'z', expected" in bad["error"]
    with pytest.raises(InputError, match=r"p2.txt: there is no such file"):
        lines_of(session, "p2.txt")
    (tmp_path / LINE).write_text("4" + "." * 15)  # a file of that name comes first
    assert lines_of(session, LINE)[0]["puzzle"] == "4" + "0" * 15


def test_a_puzzle_of_another_size_names_the_engine(session: SolvingSession) -> None:
    with pytest.raises(InputError) as raised:
        lines_of(session, NINE)
    assert str(raised.value) == (
        "argument line 1: looks like 9 x 9; this engine is for 4 x 4; the engine is tiny.pt: name another with --engine"
    )
    assumed = SolvingSession(session.path, session.runtime, session.puzzle, assumed=True)
    with pytest.raises(InputError, match="the shipped model was assumed: name another with --engine"):
        lines_of(assumed, NINE)


def test_one_run_at_a_time_writes_an_answer_file(
    session: SolvingSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "two.jsonl"
    for has_locks in (True, False):
        if not has_locks:
            monkeypatch.setattr(locks, "fcntl", None)
        for resume in (False, True):
            with FileRun(session, [LINE], SolveOptions(), output=path) as run:
                answers = iter(run)
                next(answers)
                with pytest.raises(InputError, match=r"two.jsonl: another run is writing it; wait until"):
                    FileRun(session, [LINE], SolveOptions(), output=path, resume=resume)
            assert path.read_bytes().count(b"\n") == 1
            path.unlink()
        assert list(tmp_path.iterdir()) == []


def test_two_commands_at_once(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text(f"{NINE}\n" * 40)
    command = [sys.executable, "-m", "trm_deploy", "run", "p.txt", "-o", "two.jsonl", "--batch", "1"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    both = [
        subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, env=environment) for _ in range(2)
    ]
    ends = sorted((process.communicate()[1], process.returncode) for process in both)
    codes = sorted(code for _, code in ends)
    assert codes == [0, 2], ends
    refused = next(text for text, code in ends if code == 2)
    # Started at once, the second finds the file in use; started late, it finds a whole one.
    assert "two.jsonl: another run is writing it" in refused or "two.jsonl: exists already" in refused
    assert len((tmp_path / "two.jsonl").read_text().splitlines()) == 40


def test_a_finished_file_says_that_nothing_is_left_to_do(
    session: SolvingSession, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "trm_deploy")
    path = tmp_path / "a.jsonl"
    (tmp_path / "p.txt").write_text("\n".join(LINES))
    with FileRun(session, [str(tmp_path / "p.txt")], SolveOptions(attempts=1), output=path) as run:
        assert len(list(run)) == 20
    with FileRun(session, [str(tmp_path / "p.txt")], SolveOptions(attempts=1), output=path, resume=True) as again:
        assert list(again) == []
    assert (again.done, again.unverified) == (20, run.unverified) == (20, 20)
    assert [message.split(": ", 1)[1] for message in caplog.messages] == [
        "has 20 answers; checking 4 of the last ones",
        "has an answer for each puzzle: nothing left to do",
    ]


def test_an_answer_file_is_never_one_that_is_read(session: SolvingSession, tmp_path: Path) -> None:
    path = tmp_path / "p.txt"
    path.write_text(LINE)
    (tmp_path / "link").symlink_to(path)
    for output in (path, tmp_path / "link"):
        for force in (False, True):
            with pytest.raises(InputError, match=r"is the same file as the input .*p.txt, which would be lost"):
                FileRun(session, [str(path)], SolveOptions(), output=output, force=force)
    assert path.read_text() == LINE


def test_force_writes_an_answer_file_anew(session: SolvingSession, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("notes\n" * 100)
    with pytest.raises(InputError, match="exists already; add --resume to go on where it ends, --force to write it"):
        FileRun(session, [LINE], SolveOptions(), output=path)
    with FileRun(session, [LINE], SolveOptions(), output=path, force=True) as run:
        list(run)
    assert path.read_bytes().count(b"\n") == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_names_the_file(session: SolvingSession) -> None:
    with (
        pytest.raises(TrmDeployError, match=r"/dev/full: cannot be written \(No space left on device\); name another"),
        FileRun(session, [LINE], SolveOptions(), output=Path("/dev/full")) as run,
    ):
        list(run)


def test_a_file_in_the_place_of_the_pictures_is_refused_before_the_work(
    session: SolvingSession, tmp_path: Path
) -> None:
    (tmp_path / "a.png").touch()
    with pytest.raises(InputError, match=r"a.png: is a file, expected a folder to write; name a folder with --png"):
        FileRun(session, [LINE], SolveOptions(), pictures=tmp_path / "a.png")
