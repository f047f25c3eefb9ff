"""Recorded steps are those of `Solver.trace`; each kind of file shows them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import trm_deploy as trm
from tests.conftest import Published
from trm_deploy.errors import InputError
from trm_deploy.puzzles.base import Symmetries
from trm_deploy.puzzles.maze import Maze
from trm_deploy.puzzles.sudoku import Sudoku
from trm_deploy.runtimes.solving.session import SolveOptions, open_session
from trm_deploy.tracing import files, live, page, pictures
from trm_deploy.tracing.recording import Recording

PUZZLE = Sudoku(2, 2)
QUESTION = PUZZLE.parse_line("..34341221434321")
OPTIONS = SolveOptions(attempts=3, attempt_steps=(2,), halt_threshold=float("inf"))


@pytest.fixture
def recording(published_bundle: Published, tmp_path: Path) -> Recording:
    """Of three attempts of two steps, which a random model does not solve."""
    session = open_session(published_bundle("step", tmp_path), runtime="onnxruntime")
    made = Recording(session, QUESTION, OPTIONS, place="p.txt line 1 </script>")
    assert [step.shown.step for step in made.follow()] == [1, 2, 1, 2, 1, 2]
    return made


def test_it_is_what_solver_trace_shows(recording: Recording, tmp_path: Path) -> None:
    plain = recording.to_plain()
    with trm.Solver(
        tmp_path / "m.onnx", runtime="onnxruntime", attempts=3, attempt_steps=2, halt_threshold=float("inf")
    ) as solver:
        steps = list(solver.trace("..34341221434321"))
    assert len(steps) == len(plain["steps"]) == 6
    for step, shown in zip(steps, plain["steps"]):
        for name in ("attempt", "step", "answer", "halt_logit", "halted", "verified"):
            assert shown[name] == getattr(step, name)
        assert np.allclose(shown["confidence"], step.confidence, atol=1e-3)
    assert ["faults" in step for step in plain["steps"]] == [False, True] * 3, "at the end of an attempt"
    assert plain["puzzle"] == "0034341221434321"
    # A changed cell differs from the step before; at the first step of an attempt, from the puzzle.
    assert recording.steps[0].changed == int((steps[0].tokens != QUESTION).sum())
    assert recording.steps[1].changed == int((steps[1].tokens != steps[0].tokens).sum())


def test_forms_are_those_that_the_network_sees(recording: Recording) -> None:
    forms = recording.to_plain()["forms"]
    assert sorted(forms) == ["2", "3"], "the first attempt solves the puzzle itself"
    schedule = recording._session.schedule(OPTIONS)
    for number, form in zip(("2", "3"), PUZZLE.further_forms(schedule.seed)):
        symmetry = Symmetries(np.array([forms[number]["cells"]]), np.array([forms[number]["symbols"]], np.int32))
        assert symmetry.apply(QUESTION[None]).tolist() == form.apply(QUESTION[None]).tolist()


def test_the_page_holds_everything_and_ends_no_element_early(recording: Recording) -> None:
    text = page.page([recording, recording])
    data = re.findall(r'<script type="application/json" id="traces">(.*?)</script>', text, re.DOTALL)
    traces = json.loads(data[0])
    assert [trace["place"] for trace in traces] == ["p.txt line 1 </script>"] * 2
    assert traces[0] == json.loads(json.dumps({**recording.to_plain(), "halt_threshold": "inf"}))
    assert text.count("</script>") == 2
    assert not re.search(r"""(?:src|href)\s*=|url\(|@import|https?://(?!www\.w3\.org/2000/svg)""", text)


def test_json_of_several(recording: Recording, tmp_path: Path) -> None:
    files.WRITERS[".json"].write(tmp_path / "t.json", [recording, recording])
    document = json.loads((tmp_path / "t.json").read_text())
    assert document["schema"] == 1
    assert [len(trace["steps"]) for trace in document["traces"]] == [6, 6]


def test_a_gif_has_a_frame_a_step_and_shows_the_last_one_longer(recording: Recording, tmp_path: Path) -> None:
    files.WRITERS[".gif"].write(tmp_path / "t.gif", [recording])
    with Image.open(tmp_path / "t.gif") as gif:
        assert getattr(gif, "n_frames") == 6  # noqa: B009 (no attribute of the type)
        assert gif.info["loop"] == 0
        seconds, frames = [], []
        for number in range(6):
            gif.seek(number)
            seconds.append(gif.info["duration"])
            frames.append(np.asarray(gif.convert("RGB")))
    assert seconds == [500] * 5 + [3000]
    assert (frames[0] != frames[1]).any()


def test_many_steps_are_thinned_and_said(
    recording: Recording, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(pictures, "PNG_STEPS", 3)
    files.WRITERS[".png"].write(tmp_path / "t.png", [recording])
    assert "shows 3 of the 6 steps, evenly chosen" in caplog.text
    with Image.open(tmp_path / "t.png") as png:
        assert png.size[0] > 2 * png.size[1], "three beside each other"


def test_live_frames_are_drawn_over_each_other(recording: Recording) -> None:
    again = Recording(recording._session, QUESTION, OPTIONS, place="here")
    written: list[str] = []
    live.watch(again, written.append, colour=False, least=0.0)
    assert written[0] == "here\n"
    frames = written[1:-1]
    assert len(frames) == 6
    height = frames[0].count("\n")
    assert not frames[0].startswith("\x1b")
    assert all(frame.startswith(f"\x1b[{height}F\x1b[J+") for frame in frames[1:])
    assert "attempt 2, step 1: halting logit" in frames[2]
    assert "\x1b[48;5" not in "".join(frames)
    assert written[-1].startswith("NOT SOLVED, this is the last attempt: 6 steps in 3 attempts")


def test_a_terminal_that_is_too_small_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")
    live.check_fits(PUZZLE, colour=False)
    with pytest.raises(InputError, match=r"has 80 columns and 24 lines, a grid of maze-30x30 needs 30 and 33"):
        live.check_fits(Maze(30, 30), colour=True)
    monkeypatch.setenv("COLUMNS", "20")
    live.check_fits(PUZZLE, colour=True)
    with pytest.raises(InputError, match=r"has 20 columns and 24 lines, a grid of sudoku-4x4 needs 21 and 10"):
        live.check_fits(PUZZLE, colour=False)


@pytest.mark.parametrize(
    ("name", "complaint"),
    [("t.bmp", "ends in .bmp, expected one of .html, .json, .gif, .png"), ("t", "ends in nothing, expected one of")],
)
def test_other_names_are_refused(name: str, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=complaint):
        files.writer_of(tmp_path / name)


def test_a_file_that_exists_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "t.HTML"
    assert files.writer_of(path) is files.WRITERS[".html"]
    path.write_text("mine")
    with pytest.raises(InputError, match="exists already"):
        files.writer_of(path)
    files.writer_of(path, force=True)
    with pytest.raises(InputError, match="is the same file as the input"):
        files.writer_of(path, inputs=[path], force=True)


def test_doubt_is_shade_in_colour_and_question_marks_without() -> None:
    answer = PUZZLE.parse_line("1234341221434321")
    sure: Any = np.ones(16, np.float32)
    sure[0], sure[1] = 0.3, 0.93
    plain = PUZZLE.draw(QUESTION, answer, colour=False, confidence=sure)
    assert plain.split("\n")[1] == "| ?1? (2) |  3   4  |"
    coloured = PUZZLE.draw(QUESTION, answer, colour=True, confidence=sure)
    assert "\x1b[48;5;130;97m1\x1b[0m" in coloured
    assert "\x1b[48;5;58;97m2\x1b[0m" in coloured
    assert PUZZLE.draw(QUESTION, answer, colour=True) == PUZZLE.draw(
        QUESTION, answer, colour=True, confidence=np.ones(16, np.float32)
    )
    maze = Maze(2, 2)
    asked, path = maze.parse_line("S  G"), maze.parse_line("So G")
    shaded = maze.draw(asked, path, colour=True, confidence=np.array([1, 0.6, 1, 1], np.float32))
    assert "\x1b[48;5;94;97mo\x1b[0m" in shaded
