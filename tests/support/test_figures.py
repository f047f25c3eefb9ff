"""Pictures of answers: what differs in the answer differs in the picture."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from typer.testing import CliRunner

from trm_deploy import puzzles
from trm_deploy.cli.app import app
from trm_deploy.errors import MissingPackage
from trm_deploy.puzzles import picture
from trm_deploy.puzzles.maze import PALETTE, PATH, Maze
from trm_deploy.support import figures


def colours(path: Path) -> set[tuple[int, ...]]:
    pixels = (imread(path)[..., :3] * 255).round().astype(int)
    assert min(pixels.shape[:2]) > 200
    codes = np.unique(pixels @ (1 << 16, 1 << 8, 1))  # sorting numbers is quicker than sorting triples
    return {(int(code) >> 16, int(code) >> 8 & 255, int(code) & 255) for code in codes}


def test_a_maze(tmp_path: Path) -> None:
    maze = Maze(6, 9)
    question = maze.examples()[0]
    marked = question.copy()
    marked[np.flatnonzero(question == 2)[0]] = PATH
    path, wrong = (tuple(map(int, colour)) for colour in (PALETTE[PATH], (255, 0, 255)))
    picture.write_png(tmp_path / "question.png", maze, question, question)
    assert path not in colours(tmp_path / "question.png")
    picture.write_png(tmp_path / "path.png", maze, question, marked)
    assert path in colours(tmp_path / "path.png")
    assert wrong not in colours(tmp_path / "path.png")
    marked[np.flatnonzero(question == 1)[0]] = PATH
    picture.write_png(tmp_path / "wrong.png", maze, question, marked)
    assert wrong in colours(tmp_path / "wrong.png")


def test_a_sudoku(tmp_path: Path) -> None:
    sudoku = puzzles.get("sudoku-6x6")
    question = sudoku.examples()[0]
    answer = np.maximum(question, 2)
    picture.write_png(tmp_path / "filled.png", sudoku, question, answer)
    blue, red = (31, 119, 180), (214, 39, 40)
    assert blue in colours(tmp_path / "filled.png")
    assert red not in colours(tmp_path / "filled.png")
    answer[np.flatnonzero(question > 2)[0]] = 2
    picture.write_png(tmp_path / "changed.png", sudoku, question, answer)
    assert red in colours(tmp_path / "changed.png")


def test_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingPackage, match=r"matplotlib\.figure is needed .* pip install 'trm-deploy\[draw\]'"):
        figures.require_matplotlib()


def test_run_draws_one_picture_a_puzzle(tiny_checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("..34341221434321\nrubbish\n1234341221434321\n")
    arguments = ["run", "-e", tiny_checkpoint, tmp_path / "p.txt", "--png", tmp_path / "folder"]
    assert CliRunner().invoke(app, list(map(str, arguments))).exit_code == 2
    assert sorted(path.name for path in (tmp_path / "folder").iterdir()) == ["0001.png", "0003.png"]
