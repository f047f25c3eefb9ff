"""A model of mazes from checkpoint to answer, for a size that no file of the package knows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import random_model, tiny_spec
from trm_deploy import checkpoints
from trm_deploy.checkpoints import Checkpoint
from trm_deploy.evaluation.parity.export_check import check_export
from trm_deploy.export.options import ExportOptions
from trm_deploy.export.pipeline import run_export
from trm_deploy.puzzles import reading
from trm_deploy.puzzles.maze import Maze
from trm_deploy.runtimes.solving.files import FileRun
from trm_deploy.runtimes.solving.session import SolveOptions, open_session
from trm_deploy.support.jsontext import dumps

MAZE = Maze(4, 5)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The exported loop graph of a tiny random model; its parity was checked on the way."""
    folder = tmp_path_factory.mktemp("maze")
    model = random_model(tiny_spec("trm-mlp", task=MAZE.name))
    checkpoints.save(folder / "maze.pt", Checkpoint(model.spec, model.state_dict(), {"steps": 0}))
    path = folder / "maze.onnx"
    run_export(ExportOptions(source=folder / "maze.pt", output=path), check=check_export)
    return path


def test_parity_is_checked_on_examples_of_the_size(engine: Path) -> None:
    record = json.loads(Path(f"{engine}.json").read_text())
    assert record["parity"]["passed"] is True
    assert record["parity"]["puzzles"] == len(MAZE.examples())


def test_run_reads_mazes_and_writes_them_so_that_it_can_read_them_again(engine: Path, tmp_path: Path) -> None:
    mazes = [MAZE.text(example) for example in MAZE.examples()[:2]]
    rows = "\n".join(mazes[0][start : start + 5] for start in range(0, 20, 5))
    (tmp_path / "m.txt").write_text(f"{rows}\n\n{mazes[1]}\nS S G\n{mazes[1]}\n")
    with FileRun(open_session(engine), [str(tmp_path / "m.txt")], SolveOptions(attempts=10)) as run:
        answers = list(run)
    lines = [json.loads(dumps(answer.to_plain())) for answer in answers]
    bad = lines.pop(2)
    assert "m.txt line 8: row 2 of a grid has 20 cells, expected 5" in bad["error"]
    assert [line["puzzle"] for line in lines] == [*mazes, mazes[1]]
    for line in lines:
        # A random model finds no path, in none of the four forms that a rectangle has.
        assert (line["verified"], line["attempts"], len(line["answer"])) == (False, 4, 20)
    (tmp_path / "again.txt").write_text("\n".join(line["puzzle"] for line in lines[:2]))
    again = [question.tokens for question in reading.read(str(tmp_path / "again.txt"), MAZE)]
    assert [MAZE.text(tokens) for tokens in again if tokens is not None] == mazes
    assert "NOT SOLVED, this is the best attempt" in answers[0].to_text(colour=False)


def test_positions_by_rows_and_columns_export_too(tmp_path: Path) -> None:
    model = random_model(tiny_spec("trm-att", task="maze-4x4", architecture={"positions": "rotary-2d", "heads": 2}))
    checkpoints.save(tmp_path / "maze.pt", Checkpoint(model.spec, model.state_dict(), {"steps": 0}))
    run_export(ExportOptions(source=tmp_path / "maze.pt", output=tmp_path / "maze.onnx"), check=check_export)
    assert json.loads((tmp_path / "maze.onnx.json").read_text())["parity"]["passed"] is True
