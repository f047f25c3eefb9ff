"""Datasets built here: read back, right by the task's rules, the same from the same seed; bad input."""

from __future__ import annotations

import csv
import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trm_deploy import puzzles
from trm_deploy.errors import InputError
from trm_deploy.puzzles.base import Puzzle
from trm_deploy.puzzles.maze import Maze
from trm_deploy.train.data.builders.common import DatasetOptions
from trm_deploy.train.data.builders.maze import build_maze
from trm_deploy.train.data.builders.sudoku import build_sudoku
from trm_deploy.train.data.generators import maze as maze_generator
from trm_deploy.train.data.generators.maze import default_min_path, generate
from trm_deploy.train.data.layout import read_split

MAZE = "6x7"


def maze(output: Path, *, min_path: int | None = None, **settings: Any) -> None:
    build_maze(MAZE, DatasetOptions(output=output, **settings), min_path=min_path)


def sudoku(output: Path, size: str = "4x4", **settings: Any) -> None:
    min_guesses = settings.pop("min_guesses", None)
    build_sudoku(size, DatasetOptions(output=output, **settings), min_guesses=min_guesses)


def check(folder: Path, puzzle: Puzzle, *, train: int, test: int, forms: int = 1) -> None:
    """What any dataset must be, whoever reads it."""
    assert json.loads((folder / "identifiers.json").read_text()) == ["<blank>"]
    for name, groups, group in (("train", train, forms), ("test", test, 1)):
        split = read_split(folder, name)
        assert split.inputs.shape == split.labels.shape == (groups * group, puzzle.cells)
        assert split.inputs.dtype == split.labels.dtype == np.uint8
        assert split.metadata.vocab_size == len(puzzle.vocabulary)
        assert (split.metadata.total_groups, split.metadata.total_puzzles) == (groups, groups)
        assert split.group_indices.tolist() == list(range(0, groups * group + 1, group))
        assert split.puzzle_indices.tolist() == list(range(groups * group + 1))
        assert split.example_identifiers.tolist() == [0] * (groups * group)
        for question, answer in zip(split.inputs.astype(np.int32), split.labels.astype(np.int32)):
            assert puzzle.question_faults(question) == []
            assert puzzle.answer_faults(question, answer) == []


def digests(folder: Path) -> dict[str, str]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def test_generated_mazes(tmp_path: Path) -> None:
    maze(tmp_path / "one", train=30, test=10, augment=3, seed=4)
    check(tmp_path / "one", puzzles.get("maze-6x7"), train=30, test=10, forms=4)
    inputs = read_split(tmp_path / "one", "train").inputs
    assert len({row.tobytes() for row in inputs[:4]}) == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one"]
    maze(tmp_path / "two", train=30, test=10, augment=3, seed=4)
    maze(tmp_path / "three", train=30, test=10, augment=3, seed=5)
    one, two, three = (digests(tmp_path / name) for name in ("one", "two", "three"))
    assert one == two
    assert len(one) == 13
    assert one["train/all__inputs.npy"] != three["train/all__inputs.npy"]


def test_no_puzzle_is_both_trained_on_and_tested_with(tmp_path: Path) -> None:
    # There are so few of this size that many are made twice.
    build_maze("2x3", DatasetOptions(output=tmp_path, train=40, test=10), min_path=None)
    both = np.concatenate([read_split(tmp_path, split).inputs for split in ("train", "test")])
    assert len(np.unique(both, axis=0)) == 50


def test_hard_puzzles_and_how_hard_they_are(tmp_path: Path) -> None:
    options = DatasetOptions(output=tmp_path, train=10, test=5)
    message = build_sudoku("6x6", options, min_guesses=1)
    check(tmp_path, puzzles.get("sudoku-6x6"), train=10, test=5)
    assert "wrong guesses of a solver, share of the training puzzles: none: 0.0%, 1 to 2: " in message
    easy = build_sudoku("4x4", replace(options, output=tmp_path / "easy"), min_guesses=None)
    assert "none: 100.0%, 1 to 2: 0.0%, 3 to 9: 0.0%, 10 to 29: 0.0%, 30 or more: 0.0%" in easy


def test_more_puzzles_than_there_are(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"only \d+ distinct puzzles of maze-2x2 were found, 2,000 are wanted"):
        build_maze("2x2", DatasetOptions(output=tmp_path), min_path=None)
    assert not list(tmp_path.iterdir())


def test_paths_are_as_long_as_asked_for_and_unique() -> None:
    hard = Maze(30, 30)
    assert (default_min_path(hard), default_min_path(Maze(2, 2)), default_min_path(Maze(64, 64))) == (112, 1, 112)
    made = np.concatenate(list(generate(hard, 20, min_path=112, seed=0))).astype(np.int32)
    for question, answer in made:
        assert hard.answer_faults(question, answer) == []
        steps = hard.shortest(question)
        assert steps is not None
        assert steps >= 112
        # Every other path is longer: with any one cell of this one walled up, there is none of this length.
        for cell in np.flatnonzero(answer == 5)[::10]:
            walled = question.copy()
            walled[cell] = 1
            other = hard.shortest(walled)
            assert other is None or other > steps


def test_mazes_are_made_compiled_and_hardly_any_is_thrown_away(monkeypatch: pytest.MonkeyPatch) -> None:
    # Six grown in a row without a path of that length would be an error; there are two at most.
    monkeypatch.setattr(maze_generator, "PATIENCE", 6)
    assert sum(map(len, generate(Maze(10, 10), 1000, min_path=12, seed=1))) == 1000
    assert len(maze_generator._make.signatures) == 1


def test_a_path_too_long_for_the_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maze_generator, "PATIENCE", 50)
    with pytest.raises(InputError, match=r"--min-path 41: of 50 mazes of 6 x 7 cells, none has .*the default is 5"):
        maze(tmp_path, min_path=41)


def test_generated_sudokus(tmp_path: Path) -> None:
    sudoku(tmp_path / "one", train=20, test=5, augment=9, seed=3)
    check(tmp_path / "one", puzzles.get("sudoku-4x4"), train=20, test=5, forms=10)
    sudoku(tmp_path / "two", train=20, test=5, augment=9, seed=3)
    assert digests(tmp_path / "one") == digests(tmp_path / "two")


SOLVED = "123456789456789123789123456214365897365897214897214365531642978642978531978531642"
BLANKED = "..." + SOLVED[3:]


def write_csv(path: Path, *rows: tuple[str, str]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("source", "question", "answer", "rating"))
        writer.writerows(("source", *row, "3") for row in rows)
    return path


def test_published_sudokus(tmp_path: Path, published_data: Path) -> None:
    def convert(name: str) -> Path:
        lines = (published_data / "data" / "sudoku" / f"qqwing_{name}.csv").read_text().splitlines()[1:201]
        rows = [line.split(",") for line in lines]
        return write_csv(tmp_path / f"{name}.csv", *((row[0].replace("0", "."), row[1]) for row in rows))

    train, test = convert("expert"), convert("easy")
    sudoku(tmp_path / "all", "9x9", csv=train, test_csv=test)
    check(tmp_path / "all", puzzles.get("sudoku-9x9"), train=200, test=200)
    sudoku(tmp_path / "some", "9x9", csv=train, test_csv=test, subsample=7, augment=5, seed=1)
    check(tmp_path / "some", puzzles.get("sudoku-9x9"), train=7, test=200, forms=6)
    known = {row.tobytes() for row in read_split(tmp_path / "all", "train").inputs}
    some = read_split(tmp_path / "some", "train").inputs
    assert all(row.tobytes() in known for row in some[::6])
    assert not any(row.tobytes() in known for row in np.delete(some, np.s_[::6], axis=0))


def test_published_mazes(tmp_path: Path) -> None:
    size = Maze(6, 7)
    made = next(generate(size, 12, min_path=5, seed=0)).astype(np.int32)
    path = write_csv(tmp_path / "m.csv", *((size.text(question), size.text(answer)) for question, answer in made))
    maze(tmp_path / "set", csv=path, test_csv=path)
    check(tmp_path / "set", size, train=12, test=12)
    np.testing.assert_array_equal(read_split(tmp_path / "set", "test").labels, made[:, 1])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ((BLANKED, SOLVED[:-1]), "line 3: answer: 80 characters, expected 81"),
        ((BLANKED, SOLVED[:40] + "z" + SOLVED[41:]), "line 3: answer character 41: found 'z', expected"),
        ((BLANKED[:40] + "€" + BLANKED[41:], SOLVED), "line 3: question character 41: found '€', expected"),
        ((BLANKED, "2" + SOLVED[1:]), "line 3: the answer is wrong: row 1 has 2 twice; column 1 has 2 twice"),
        ((BLANKED, BLANKED), "line 3: the answer is wrong: 3 cells have no digit"),
        (("..." + "4" + SOLVED[3:-1], SOLVED), "line 3: the givens break the rules"),
        (("3" + BLANKED[1:], SOLVED), "line 3: the givens break the rules"),
    ],
)
def test_a_wrong_line_of_a_published_file(tmp_path: Path, row: tuple[str, str], message: str) -> None:
    good = write_csv(tmp_path / "good.csv", (BLANKED, SOLVED))
    bad = write_csv(tmp_path / "bad.csv", (BLANKED, SOLVED), row, (BLANKED, SOLVED))
    with pytest.raises(InputError) as raised:
        sudoku(tmp_path / "set", "9x9", csv=good, test_csv=bad)
    assert f"{bad} {message}" in str(raised.value)
    assert not (tmp_path / "set").exists()


def test_a_maze_whose_answer_is_no_path(tmp_path: Path) -> None:
    size = Maze(6, 7)
    ((question, _),) = next(generate(size, 1, min_path=5, seed=0)).astype(np.int32)
    path = write_csv(tmp_path / "m.csv", (size.text(question), size.text(question)))
    with pytest.raises(InputError, match=r"m\.csv line 2: the answer is wrong: the path is interrupted"):
        maze(tmp_path / "set", csv=path, test_csv=path)


def test_senseless_flags(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "p.csv", (BLANKED, SOLVED))
    empty = write_csv(tmp_path / "empty.csv")
    for settings, message in (
        ({"csv": path}, "one of --csv and --test-csv is missing"),
        ({"csv": path, "test_csv": path, "train": 5}, "--train is for generated puzzles"),
        ({"subsample": 5}, "--subsample is for --csv"),
        ({"csv": path, "test_csv": path, "subsample": 2}, "p.csv has 1 puzzles"),
        ({"csv": path, "test_csv": empty}, "empty.csv: holds no puzzle"),
        ({"csv": path, "test_csv": tmp_path / "none.csv"}, "none.csv: there is no such file"),
        ({"output": path}, "p.csv: is a file"),
    ):
        with pytest.raises(InputError) as raised:
            sudoku(size="9x9", **{"output": tmp_path / "set", **settings})  # type: ignore[arg-type]
        assert message in str(raised.value)
    with pytest.raises(InputError, match="--augment 4: a maze of 6 x 7 cells has 3 further forms"):
        maze(tmp_path / "set", augment=4)
    with pytest.raises(InputError, match="--min-path is for generated mazes"):
        maze(tmp_path / "set", csv=path, test_csv=path, min_path=5)
    with pytest.raises(InputError, match="--min-guesses is for generated puzzles"):
        sudoku(tmp_path / "set", csv=path, test_csv=path, min_guesses=2)
    with pytest.raises(InputError, match="--min-guesses 2: puzzles of 6x6 take a solver 1 or little more"):
        sudoku(tmp_path / "set", "6x6", min_guesses=2)
    with pytest.raises(InputError, match="'sudoku-5x5' is unknown"):
        sudoku(tmp_path / "set", "5x5")
    assert not (tmp_path / "set").exists()


def test_a_dataset_is_overwritten_only_by_force(tmp_path: Path) -> None:
    maze(tmp_path, train=3, test=2)
    before = digests(tmp_path)
    with pytest.raises(
        InputError, match="holds a dataset already; name another folder with -o, or add --force to write over it"
    ):
        maze(tmp_path, train=4, test=2, seed=1)
    assert digests(tmp_path) == before
    maze(tmp_path, train=4, test=2, seed=1, force=True)
    check(tmp_path, puzzles.get("maze-6x7"), train=4, test=2)
