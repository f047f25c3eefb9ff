"""`run -o FILE`: line by line, stopped by anything and gone on with, refused where the file is of another run."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from tests.conftest import exported, random_model, tiny_spec
from trm_deploy import puzzles
from trm_deploy.errors import InputError
from trm_deploy.runtimes.backends.pytorch import TorchRuntime
from trm_deploy.runtimes.solving.files import FileRun
from trm_deploy.runtimes.solving.session import SolveOptions, SolvingSession

PUZZLE = puzzles.get("sudoku-4x4")
OPTIONS = SolveOptions(attempts=2, batch_size=4)


@pytest.fixture
def session() -> SolvingSession:
    return SolvingSession(Path("tiny.pt"), TorchRuntime(random_model(tiny_spec("trm-mlp"))), PUZZLE)


def write_puzzles(path: Path, count: int) -> str:
    rng = np.random.default_rng(1)
    lines = []
    for _ in range(count):
        cells = np.zeros(16, int)
        cells[rng.integers(16)] = rng.integers(1, 5)
        lines.append("".join(map(str, cells)))
    lines[2] = "1x"  # a line that cannot be read has its place too
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def lines_of(path: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "milliseconds"} for line in lines]


def write(
    session: SolvingSession,
    name: str,
    path: Path,
    *,
    resume: bool = False,
    force: bool = False,
    options: SolveOptions = OPTIONS,
) -> int:
    with FileRun(session, [name], options, output=path, resume=resume, force=force) as run:
        for _ in run:
            pass
        return run.done


@pytest.mark.parametrize("cut", [0, 1, 300, 1500, -1])
def test_a_file_that_was_cut_anywhere_becomes_the_same_file(session: SolvingSession, tmp_path: Path, cut: int) -> None:
    name = write_puzzles(tmp_path / "puzzles.txt", 20)
    write(session, name, tmp_path / "whole.jsonl")
    data = (tmp_path / "whole.jsonl").read_bytes()
    (tmp_path / "cut.jsonl").write_bytes(data[:cut])
    done = write(session, name, tmp_path / "cut.jsonl", resume=True)
    assert done == data[:cut].count(b"\n")
    assert lines_of(tmp_path / "cut.jsonl") == lines_of(tmp_path / "whole.jsonl")
    assert len(lines_of(tmp_path / "cut.jsonl")) == 20


def changed(line: str, **values: object) -> str:
    return json.dumps(json.loads(line) | values)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda lines: [changed(lines[0], puzzle="0" * 16), *lines[1:]], "line 1: answers another puzzle than"),
        (lambda lines: [*lines[:-1], changed(lines[-1], answer="1" * 16)], "line 20: answer is '1111"),
        (lambda lines: [*lines, lines[0]], "line 21: there are fewer puzzles"),
        (lambda lines: ["no JSON", *lines], "line 1: is not JSON"),
        (lambda lines: ["[]", *lines], "line 1: is not an object with a puzzle"),
    ],
)
def test_a_file_of_another_run_is_left_as_it_is(
    session: SolvingSession, tmp_path: Path, spoil: Any, message: str
) -> None:
    name = write_puzzles(tmp_path / "puzzles.txt", 20)
    path = tmp_path / "answers.jsonl"
    write(session, name, path)
    path.write_text("\n".join(spoil(path.read_text().splitlines())) + "\n")
    before = path.read_bytes()
    with pytest.raises(InputError, match=message):
        write(session, name, path, resume=True)
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", ['{"important": 1}', '{"puzzle": "1234"', "notes"])
def test_what_no_run_left_is_not_thrown_away(session: SolvingSession, tmp_path: Path, content: str) -> None:
    name = write_puzzles(tmp_path / "puzzles.txt", 4)
    path = tmp_path / "notes.json"
    path.write_text(content)
    with pytest.raises(InputError, match="line 1: ends without a line break, and is not what an interrupted run left"):
        write(session, name, path, resume=True)
    assert path.read_text() == content


def test_other_settings_are_noticed(session: SolvingSession, tmp_path: Path) -> None:
    name = write_puzzles(tmp_path / "puzzles.txt", 20)
    write(session, name, tmp_path / "a.jsonl")
    with pytest.raises(InputError, match="use the engine and the flags of the run that wrote it"):
        write(session, name, tmp_path / "a.jsonl", resume=True, options=SolveOptions(attempts=3, batch_size=4))
    with pytest.raises(InputError, match=r"a.jsonl: exists already; add --resume"):
        write(session, name, tmp_path / "a.jsonl")
    with pytest.raises(InputError, match="-: can be read only once"):
        write(session, "-", tmp_path / "a.jsonl", resume=True)


def test_a_refused_input_leaves_no_file(session: SolvingSession, tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("# nothing\n")
    with pytest.raises(InputError, match="holds no puzzle"):
        write(session, str(tmp_path / "empty.txt"), tmp_path / "a.jsonl")
    assert not (tmp_path / "a.jsonl").exists()


def test_a_killed_run_goes_on(tmp_path: Path) -> None:
    onnx.save(exported("trm-mlp", "step"), tmp_path / "step.onnx")
    name = write_puzzles(tmp_path / "puzzles.txt", 400)
    command = [sys.executable, "-m", "trm_deploy", "run", "-e", str(tmp_path / "step.onnx"), name, "--attempts", "2"]
    killed = tmp_path / "killed.jsonl"
    process = subprocess.Popen([*command, "-o", str(killed)], stderr=subprocess.DEVNULL)
    while not (killed.exists() and killed.stat().st_size > 2000) and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert 0 < killed.read_bytes().count(b"\n") < 400
    for arguments in ([str(killed), "--resume"], [str(tmp_path / "whole.jsonl")]):
        result = subprocess.run([*command, "-o", *arguments], capture_output=True, text=True, check=False)
        assert result.returncode == 2, result.stderr  # for the one line that cannot be read
        assert "puzzles a second" in result.stderr
    assert lines_of(killed) == lines_of(tmp_path / "whole.jsonl")
    assert len(lines_of(killed)) == 400
