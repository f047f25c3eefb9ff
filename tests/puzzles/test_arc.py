"""ARC: grids, tokens and text, augmentations, cropping, and the readers of published files."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trm_deploy import puzzles
from trm_deploy.errors import InputError, PuzzleError
from trm_deploy.puzzles import arc, arc_tasks
from trm_deploy.puzzles.arc import Augmentation, Grid, parse_identifier
from trm_deploy.puzzles.arc_tasks import Task, each_task, read_solutions, read_tasks, with_solutions

ARC = arc.Arc()
PAIR = {"input": [[1, 2], [3, 4]], "output": [[5]]}
TASK = {"train": [PAIR], "test": [{"input": [[0, 7, 0]]}]}


@st.composite
def grids(draw: st.DrawFn) -> Grid:
    rows, columns = draw(st.integers(1, 30)), draw(st.integers(1, 30))
    return np.random.default_rng(draw(st.integers(0, 2**32))).integers(0, 10, (rows, columns)).astype(np.uint8)


@st.composite
def augmentations(draw: st.DrawFn) -> Augmentation:
    return Augmentation(draw(st.integers(0, 7)), (0, *draw(st.permutations(range(1, 10)))))


def published_tasks(published_data: Path) -> list[Task]:
    folder = published_data / "data" / "arc"
    stems = [str(folder / f"arc-agi_{part}_") for part in ("training", "evaluation")]
    solutions = read_solutions(f"{stem}solutions.json" for stem in stems)
    return [with_solutions(task, solutions) for task in read_tasks(f"{stem}challenges.json" for stem in stems)]


def test_every_published_grid_survives_text_tokens_and_augmentation(published_data: Path) -> None:
    tasks = published_tasks(published_data)
    assert len(tasks) == 800
    rng = np.random.default_rng(0)
    count = 0
    for task in tasks:
        for pair in (*task.train, *task.test):
            for grid in (pair.input, pair.output):
                assert grid is not None
                tokens = ARC.parse_line(arc.text_of(grid))
                assert ARC.question_faults(tokens) == []
                assert ARC.text(tokens) == arc.text_of(grid)
                augmentation = Augmentation.random(rng)
                # As a run does it: what is asked and what comes back stand on the canvas.
                mapped = arc.crop(arc.to_tokens(augmentation.apply(grid)))
                assert np.array_equal(augmentation.invert(mapped), grid)
                count += 1
    assert count == 2 * (1302 + 416 + 1363 + 419)


@given(grids(), augmentations())
def test_augmentations_invert_and_their_names_tell_them(grid: Grid, augmentation: Augmentation) -> None:
    assert np.array_equal(augmentation.invert(augmentation.apply(grid)), grid)
    assert arc.parse_identifier(arc.identifier_name("a1b2c3d4", augmentation)) == ("a1b2c3d4", augmentation)


def test_transforms_and_names_are_the_published_ones() -> None:
    grid = np.array([[1, 2, 3], [4, 5, 6]], np.uint8)
    expected = [
        [[1, 2, 3], [4, 5, 6]],
        [[3, 6], [2, 5], [1, 4]],  # a quarter turn to the left
        [[6, 5, 4], [3, 2, 1]],
        [[4, 1], [5, 2], [6, 3]],
        [[3, 2, 1], [6, 5, 4]],
        [[4, 5, 6], [1, 2, 3]],
        [[1, 4], [2, 5], [3, 6]],
        [[6, 3], [5, 2], [4, 1]],
    ]
    assert [Augmentation(transform).apply(grid).tolist() for transform in range(8)] == expected
    swapped = Augmentation(4, (0, 3, 2, 1, 4, 5, 6, 7, 8, 9))
    assert swapped.apply(grid).tolist() == [[1, 2, 3], [6, 5, 4]]
    assert arc.identifier_name("t") == "t"
    assert arc.identifier_name("t", swapped) == "t|||t4|||0321456789"
    assert {Augmentation.random(np.random.default_rng(seed)).transform for seed in range(64)} == set(range(8))
    assert all(Augmentation.random(np.random.default_rng(seed)).colours[0] == 0 for seed in range(64))


@pytest.mark.parametrize(
    "name", ["a|||t4", "a|||4|||0123456789", "a|||t8|||0123456789", "a|||t0|||0123456788", "a|||t|||"]
)
def test_a_malformed_identifier_is_refused(name: str) -> None:
    with pytest.raises(PuzzleError, match="is malformed"):
        arc.parse_identifier(name)


def test_ends_of_grid_stand_where_the_canvas_goes_on() -> None:
    grid = np.array([[1, 2, 3], [4, 5, 6]], np.uint8)
    cells = arc.canvas(grid)
    assert cells[:4, :5].tolist() == [[3, 4, 5, 1, 0], [6, 7, 8, 1, 0], [1, 1, 1, 0, 0], [0, 0, 0, 0, 0]]
    assert np.count_nonzero(cells) == 6 + 5
    cells = arc.canvas(grid, row=28, column=10)  # at the lower edge: no room for an end below
    assert cells[27:, 9:14].tolist() == [[0, 0, 0, 0, 0], [0, 3, 4, 5, 1], [0, 6, 7, 8, 1]]
    full = np.full((30, 30), 9, np.uint8)
    assert (arc.canvas(full) == 11).all()
    assert np.array_equal(arc.crop(arc.to_tokens(full)), full)


def test_a_smaller_canvas_is_a_task_of_its_own(tmp_path: Path) -> None:
    small = puzzles.get("arc-3x3")
    assert (small.name, small.cells, small.has_rules) == ("arc-3x3", 9, False)
    tokens = small.parse_line("12 34")
    assert tokens.tolist() == [3, 4, 1, 5, 6, 1, 1, 1, 0]
    assert small.text(tokens) == "12 34"
    assert small.question_faults(tokens) == []
    with pytest.raises(PuzzleError, match="row 1 has 4 cells, expected 1 to 3"):
        small.parse_line("1234")
    assert all(small.question_faults(example) == [] for example in small.examples())
    tasks = {"fits": TASK, "large": {"train": [PAIR], "test": [{"input": [[1]]}, {"input": [[1, 2, 3, 4]]}]}}
    (tmp_path / "t.json").write_text(json.dumps(tasks))
    fits, large = puzzles.questions(str(tmp_path / "t.json"), small)
    assert fits.tokens is not None
    assert fits.tokens.tolist() == [2, 9, 2, 1, 1, 1, 0, 0, 0]
    assert large.tokens is None
    assert "task large test input 2: has 1 x 4 cells, expected at most 3 x 3, the canvas of the model" in large.error


@pytest.mark.parametrize("name", ["arc-0x0", "arc-3x4", "arc-30x30", "arc-3", "arc-03x03"])
def test_no_other_canvas_is_a_task(name: str) -> None:
    with pytest.raises(InputError, match="the task 'arc-"):
        puzzles.get(name)


def largest_rectangle(cells: np.ndarray) -> tuple[int, int]:
    """By looking at all of them; of the largest, the one with the fewest rows."""
    sizes = [(r, c) for r in range(31) for c in range(31) if (cells[:r, :c] >= 2).all()]
    area = max(r * c for r, c in sizes)
    return min(size for size in sizes if size[0] * size[1] == area)


@given(st.integers(0, 2**32), st.sampled_from([0.001, 0.01, 0.1, 0.5]))
def test_cropping_finds_the_largest_rectangle_of_colours(seed: int, ends: float) -> None:
    rng = np.random.default_rng(seed)
    cells = np.where(rng.random((30, 30)) < ends, rng.integers(0, 2, (30, 30)), rng.integers(2, 12, (30, 30)))
    rows, columns = largest_rectangle(cells)
    expected = cells[:rows, :columns] - 2
    found = arc.crop(cells.reshape(-1))
    assert found.size == expected.size
    assert np.array_equal(found, expected) or not found.size


def test_a_prediction_without_a_grid_crops_to_nothing() -> None:
    assert arc.crop(np.zeros(900, np.int32)).shape == (0, 0)
    assert ARC.text(np.ones(900, np.int32)) == ""


def test_text_says_what_is_wrong() -> None:
    with pytest.raises(PuzzleError, match="found 'x', expected a colour 0 to 9") as raised:
        ARC.parse_line("01 2x")
    assert raised.value.position == 4
    with pytest.raises(PuzzleError, match="row 2 has 1 cells, expected 2"):
        ARC.parse_line("01 2")
    with pytest.raises(PuzzleError, match="row 1 has 31 cells"):
        ARC.parse_line("0" * 31)


def test_arc_is_a_task_without_rules() -> None:
    puzzle = puzzles.get("arc")
    assert (puzzle.cells, len(puzzle.vocabulary), puzzle.has_rules) == (900, 12, False)
    examples = puzzle.examples()
    assert [puzzle.question_faults(tokens) for tokens in examples] == [[]] * len(examples)
    # On a canvas at whose top left no grid ends as it should.
    assert puzzle.question_faults(np.roll(examples[0], 1))


def test_symmetries_of_the_canvas_keep_a_grid_a_grid() -> None:
    examples = np.repeat(ARC.examples(), 4, axis=0)
    symmetries = ARC.symmetries(len(examples), np.random.default_rng(1))
    mapped = symmetries.apply(examples)
    assert all(ARC.question_faults(tokens) == [] for tokens in mapped)
    assert not np.array_equal(mapped, examples)
    np.testing.assert_array_equal(symmetries.invert(mapped), examples)
    assert list(ARC.further_forms(0)) == []


def test_drawings_stand_beside_each_other_or_below(monkeypatch: pytest.MonkeyPatch) -> None:
    question, answer = ARC.parse_line("01 23 45"), ARC.parse_line("678")
    assert ARC.draw(question, answer, colour=False) == "0 1   6 7 8\n2 3\n4 5"
    monkeypatch.setenv("COLUMNS", "10")
    assert ARC.draw(question, answer, colour=False) == "0 1\n2 3\n4 5\n\n6 7 8"
    assert "\x1b[48;2;0;116;217m" in ARC.draw(question, answer, colour=True)
    assert ARC.draw(question, np.zeros(900, np.int32), colour=False).endswith("(no grid)")


def test_a_picture_shows_both_grids_in_their_colours() -> None:
    figure = pytest.importorskip("matplotlib.figure").Figure()
    axes = figure.add_subplot()
    ARC.plot(axes, ARC.parse_line("01 23 45"), ARC.parse_line("678"))
    (image,) = axes.get_images()
    cells = np.asarray(image.get_array())
    assert cells.shape == (3, 2 + 1 + 3 + 1, 3)
    assert cells[2, 1].tolist() == arc.PALETTE[5].tolist()
    assert cells[0, 3:6].tolist() == arc.PALETTE[6:9].tolist()


def write(path: Path, document: object) -> str:
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return str(path)


def test_tasks_come_alone_or_many_in_a_file(tmp_path: Path) -> None:
    alone = write(tmp_path / "a1b2c3d4.json", TASK)
    many = write(tmp_path / "challenges.json", {"x": TASK, "y": {**TASK, "test": [PAIR, PAIR]}})
    solutions = write(tmp_path / "solutions.json", {"x": [[[9]]], "unrelated": [[[1]]]})
    tasks = [with_solutions(task, read_solutions([solutions])) for task in read_tasks([alone, many])]
    assert [task.name for task in tasks] == ["a1b2c3d4", "x", "y"]
    assert tasks[0].test[0].output is None
    assert tasks[1].test[0].output is not None
    assert tasks[1].test[0].output.tolist() == [[9]]
    assert len(tasks[2].test) == 2
    found = list(puzzles.questions(many, ARC))
    assert [question.text for question in found] == ["070", "12 34", "12 34"]
    assert found[2].place == f"{many} task y test input 2"


def changed(**parts: Any) -> dict[str, Any]:
    return {**TASK, **parts}


@pytest.mark.parametrize(
    ("document", "complaint"),
    [
        (changed(test=[{"input": [[0] * 31]}]), "test example 1 input: row 1 has 31 cells, expected 1 to 30"),
        (changed(test=[{"input": [[0]] * 31}]), "test example 1 input: has 31 rows, expected 1 to 30"),
        (
            changed(train=[PAIR, {**PAIR, "output": [[1, 2], [3]]}]),
            "train example 2 output: row 2 has 1 cells, expected 2",
        ),
        (changed(test=[{"input": [[1, 2], [3, 10]]}]), "input: row 2 column 2 is 10, expected a colour 0 to 9"),
        (changed(test=[{"input": [[True]]}]), "row 1 column 1 is True, expected a colour"),
        (changed(test=[{"input": []}]), "test example 1 input: is not a list of rows"),
        (changed(test=[]), "has no test input, expected"),
        ({"train": [PAIR]}, "'test' is a JSON null, expected"),
        (changed(test=[{"output": [[1]]}]), "test example 1: is {'output': [[1]]}, expected"),
        (changed(train=[{"input": [[1]]}]), "train example 1: is {'input': [[1]]}, expected"),
        ({"x": TASK, "y": changed(test=[])}, "task.json task y: has no test input"),
        ({"x": 3}, "task.json task x: is a JSON number"),
        ([TASK], "is a JSON list"),
        ({}, "is a JSON object that is empty"),
        ("{", "is not valid JSON"),
        ("version https://git-lfs.github.com/spec/v1\n", "is a git-lfs pointer, not the file itself"),
        ("<!doctype html>\n<html>", "is a web page"),
        ("\x80", "is not valid JSON"),
    ],
)
def test_a_malformed_task_is_refused_with_its_place(tmp_path: Path, document: object, complaint: str) -> None:
    name = write(tmp_path / "task.json", document)
    with pytest.raises(InputError) as raised:
        read_tasks([name])
    assert complaint in str(raised.value)
    assert str(raised.value).startswith(name)


def test_files_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    name = write(tmp_path / "x.json", TASK)
    many = write(tmp_path / "many.json", {"x": TASK})
    other = write(tmp_path / "other.json", {"x": {**TASK, "test": [{"input": [[7]]}]}})
    with pytest.raises(InputError, match=r"other\.json task x: is a second task .*, and differs from .*x\.json"):
        read_tasks([name, other])
    (task,) = read_tasks([name, many])
    with pytest.raises(InputError, match="has 1 test inputs and 2 solutions"):
        with_solutions(task, read_solutions([write(tmp_path / "s.json", {"x": [[[1]], [[2]]]})]))
    with pytest.raises(InputError, match="task x solution 1: row 1 column 1 is 11"):
        read_solutions([write(tmp_path / "s.json", {"x": [[[11]]]})])
    with pytest.raises(InputError, match="task x: is a JSON object, expected a list of grids"):
        read_solutions([name.replace("x.json", "many.json")])
    with pytest.raises(InputError, match="there is no such file"):
        read_tasks([str(tmp_path / "none.json")])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"is a folder without \.json"):
        read_tasks([str(tmp_path / "empty")])


def test_a_folder_and_packed_files(tmp_path: Path) -> None:
    """A folder as the ARC Prize's archives unpack, one task twice in it, and a solutions file among them."""
    folder = tmp_path / "data"
    (folder / "training").mkdir(parents=True)
    write(folder / "training" / "a.json", TASK)
    (folder / "b.json.gz").write_bytes(gzip.compress(json.dumps(TASK).encode()))
    write(folder / "c_challenges.json", {"c": TASK, "a": TASK})
    write(folder / "c_solutions.json", {"c": [[[1]]]})
    assert sorted(task.name for task in read_tasks([str(folder)])) == ["a", "b", "c"]
    (folder / "b.json.gz").write_bytes(gzip.compress(b" " * (1 << 27)))
    with pytest.raises(InputError, match=r"b\.json\.gz: is larger than 64 MiB"):
        read_tasks([str(folder / "b.json.gz")])
    (folder / "b.json.gz").write_bytes(gzip.compress(json.dumps(TASK).encode())[:-12])
    with pytest.raises(InputError, match=r"b\.json\.gz: is damaged: it begins as gzip does"):
        read_tasks([str(folder / "b.json.gz")])


@pytest.mark.parametrize("unknown", [None, []])
def test_an_output_that_is_unknown(tmp_path: Path, unknown: object) -> None:
    asked = {**TASK, "test": [{"input": [[1]], "output": unknown}]}
    (task,) = read_tasks([write(tmp_path / "x.json", asked)])
    assert task.test[0].output is None
    solutions = write(tmp_path / "s.json", {"x": [unknown]})
    assert with_solutions(task, read_solutions([solutions])).test[0].output is None


def test_one_bad_task_leaves_the_others(tmp_path: Path) -> None:
    bad = {"train": [], "test": [{"input": [[11]]}]}
    (tmp_path / "d.json").write_text("{")
    names = [write(tmp_path / "m.json", {"a": TASK, "b": bad, "c": TASK}), str(tmp_path / "d.json")]
    found = list(each_task(names))
    assert [item.name if isinstance(item, Task) else str(item)[-40:-30] for item in found][0::2] == ["a", "c"]
    assert isinstance(found[1], InputError)
    assert "m.json task b test example 1 input: row 1 column 1 is 11" in str(found[1])
    assert "d.json: is no" in str(found[3])
    questions = list(arc_tasks.questions(names[0]))
    assert [bool(question.error) for question in questions] == [False, True, False]


def test_both_spellings_of_an_augmentation() -> None:
    assert parse_identifier("00aabbcc_t1_0213456789") == parse_identifier("00aabbcc|||t1|||0213456789")
    for own in ("00aabbcc_t9_0213456789", "00aabbcc_t1_0000000000", "00aabbcc_t1_021345678", "a_b"):
        assert parse_identifier(own) == (own, Augmentation())
