"""Datasets of ARC: augmented and moved about it is still the task, and what is tested is not trained on."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from trm_deploy import puzzles
from trm_deploy.artefacts import identifiers
from trm_deploy.errors import InputError
from trm_deploy.puzzles import arc
from trm_deploy.puzzles.arc_tasks import read_tasks
from trm_deploy.train.data.builders.arc import ArcDatasetOptions, build_arc
from trm_deploy.train.data.layout import Split, read_split

Plain = dict[str, list[dict[str, list[list[int]]]]]


def pair(seed: int) -> dict[str, list[list[int]]]:
    rng = np.random.default_rng(seed)
    return {key: rng.integers(0, 10, rng.integers(2, 6, 2)).tolist() for key in ("input", "output")}


def task(seed: int, *, tests: int = 1) -> Plain:
    tested = [{"input": pair(100 + seed + number)["input"]} for number in range(tests)]
    return {"train": [pair(seed), pair(seed + 1), pair(seed + 2)], "test": tested}


def write(path: Path, document: object) -> str:
    path.write_text(json.dumps(document))
    return str(path)


@pytest.fixture
def settings(tmp_path: Path) -> ArcDatasetOptions:
    return ArcDatasetOptions(
        challenges=(write(tmp_path / "a.json", {"a": task(0)}),),
        test_challenges=(write(tmp_path / "b.json", {"b": task(10, tests=2), "c": task(20)}),),
        solutions=(
            write(
                tmp_path / "s.json",
                {"a": [pair(1)["output"]], "b": [pair(2)["output"], pair(3)["output"]], "c": [[[7]]]},
            ),
        ),
        augment=12,
        output=tmp_path / "out",
    )


def grid_at(tokens: np.ndarray) -> tuple[arc.Grid, tuple[int, int]]:
    """The grid anywhere on the canvas, and its place."""
    cells = tokens.reshape(arc.SIDE, arc.SIDE)
    rows, columns = np.nonzero(cells >= arc.FIRST_COLOUR)
    place = int(rows.min()), int(columns.min())
    grid = arc.crop(np.pad(cells, ((0, 30), (0, 30)))[place[0] :, place[1] :][:30, :30].reshape(-1))
    assert np.array_equal(arc.canvas(grid, row=place[0], column=place[1]), cells)
    return grid, place


def puzzles_of(split: Split, names: tuple[str, ...]) -> dict[str, list[tuple[str, str, tuple[int, int]]]]:
    """Of each identifier's name the examples, mapped back into the task's own form, and their places."""
    found = {}
    for number, (start, stop) in enumerate(zip(split.puzzle_indices[:-1], split.puzzle_indices[1:])):
        name = names[split.puzzle_identifiers[number]]
        _, augmentation = arc.parse_identifier(name)
        examples = []
        for row in range(start, stop):
            (question, place), (answer, answer_place) = grid_at(split.inputs[row]), grid_at(split.labels[row])
            assert place == answer_place
            question, answer = augmentation.invert(question), augmentation.invert(answer)
            examples.append((arc.text_of(question), arc.text_of(answer), place))
        found[name] = examples
    return found


def test_a_dataset_holds_each_task_under_each_augmentation(settings: ArcDatasetOptions) -> None:
    assert settings.output is not None
    message = build_arc(settings)
    assert "3 tasks, 2 of them tested, 39 puzzles" in message
    names = identifiers.read_file(settings.output / "identifiers.json")
    assert len(names) == 1 + 3 * 13
    assert names[0] == "<blank>"
    assert names[1] == "a"
    train, test = (read_split(settings.output, split) for split in ("train", "test"))
    assert train.inputs.dtype == np.uint8
    assert (train.metadata.seq_len, train.metadata.vocab_size, train.metadata.num_puzzle_identifiers) == (900, 12, 40)
    assert (train.metadata.total_groups, train.metadata.total_puzzles) == (3, 39)
    assert (test.metadata.total_groups, test.metadata.total_puzzles) == (2, 26)
    assert train.metadata.mean_puzzle_examples == pytest.approx((4 + 3 + 3) / 3)
    assert np.diff(train.group_indices).tolist() == [13, 13, 13]

    (a,), (b, c) = (read_tasks(files) for files in (settings.challenges, settings.test_challenges))
    solved = json.loads(Path(settings.solutions[0]).read_text())
    for found, tasks, demonstrated, tested in (
        (puzzles_of(train, names), (a, b, c), True, ("a",)),
        (puzzles_of(test, names), (b, c), False, ("b", "c")),
    ):
        assert set(found) == {name for name in names[1:] if name[0] in {task.name for task in tasks}}
        for task in tasks:
            expected = []
            if demonstrated:
                expected += [
                    (arc.text_of(p.input), "" if p.output is None else arc.text_of(p.output)) for p in task.train
                ]
            if task.name in tested:
                outputs = [arc.text_of(arc.grid_from(rows)) for rows in solved[task.name]]
                expected += [(arc.text_of(p.input), output) for p, output in zip(task.test, outputs)]
            for name in (name for name in found if name[0] == task.name):
                assert [example[:2] for example in found[name]] == expected

    places = [[place for _, _, place in examples] for examples in puzzles_of(train, names).values()]
    assert all((0, 0) in puzzle for puzzle in places)
    assert Counter(place == (0, 0) for puzzle in places for place in puzzle)[True] < 45  # one a puzzle, and by chance
    assert len({place for puzzle in places for place in puzzle}) > 60
    assert {place for examples in puzzles_of(test, names).values() for _, _, place in examples} == {(0, 0)}
    tested_puzzles = json.loads((settings.output / "test_puzzles.json").read_text())
    assert list(tested_puzzles) == ["b", "c"]
    assert tested_puzzles["c"]["test"][0]["output"] == [[7]]


def test_a_smaller_canvas_has_the_tasks_that_fit_it(settings: ArcDatasetOptions) -> None:
    assert settings.output is not None
    tall = {"train": [{"input": [[1]] * 6, "output": [[2]]}], "test": [{"input": [[3]]}]}
    files = (*settings.challenges, write(settings.output.with_name("tall.json"), {"tall": tall}))
    message = build_arc(replace(settings, challenges=files, canvas=5))
    assert "arc-5x5, 3 tasks, 2 of them tested, 39 puzzles" in message
    assert "1 tasks with grids of more than 5 x 5 cells are left out" in message
    puzzle = puzzles.get("arc-5x5")
    (a,) = read_tasks(settings.challenges)
    train = read_split(settings.output, "train")
    assert (train.metadata.seq_len, puzzle.cells) == (25, 25)
    # Somewhere on the canvas each, and whole: every demonstration of the task itself is found again.
    questions = [arc.text_of(pair.input, separator="") for pair in a.train]
    found = []
    for row in train.inputs[: len(a.train)].astype(np.int32):
        assert ((row >= 0) & (row < len(puzzle.vocabulary))).all()
        found.append("".join(str(token - arc.FIRST_COLOUR) for token in row if token >= arc.FIRST_COLOUR))
    assert found == questions
    # Tested are the inputs at the top left, as run puts them there.
    for row in read_split(settings.output, "test").inputs.astype(np.int32):
        assert puzzle.question_faults(row) == []
    with pytest.raises(InputError, match="--canvas 1: no task of --test-challenges has grids of 1 x 1 or less"):
        build_arc(replace(settings, canvas=1, force=True))


def test_the_seed_decides_and_a_dataset_is_not_overwritten(settings: ArcDatasetOptions, tmp_path: Path) -> None:
    def built(name: str, seed: int) -> bytes:
        build_arc(ArcDatasetOptions(**{**vars(settings), "output": tmp_path / name, "seed": seed}))
        return (tmp_path / name / "train" / "all__inputs.npy").read_bytes()

    assert built("one", 0) == built("two", 0) != built("three", 1)
    with pytest.raises(InputError, match="holds a dataset already"):
        built("one", 0)


def test_augmentations_that_change_nothing_new_are_left_out(tmp_path: Path) -> None:
    # One black cell has one form; one blue cell has nine.
    black, blue = ({"input": [[colour]], "output": [[0]]} for colour in (0, 1))
    tasks = {"k": {"train": [black], "test": [black]}, "b": {"train": [blue, blue], "test": [blue]}}
    output = tmp_path / "out"
    files = write(tmp_path / "t.json", tasks)
    message = build_arc(
        ArcDatasetOptions(challenges=(), test_challenges=(files,), solutions=(), augment=100, output=output)
    )
    assert "2 tasks have fewer than 100 distinct augmentations" in message
    names = identifiers.read_file(output / "identifiers.json")
    assert Counter(name[0] for name in names[1:]) == {"k": 1, "b": 9}


def test_what_is_not_known_is_neither_trained_on_nor_hidden(settings: ArcDatasetOptions) -> None:
    assert settings.output is not None
    message = build_arc(ArcDatasetOptions(**{**vars(settings), "solutions": (), "augment": 0}))
    assert "1 test inputs without a solution are left out of training" in message
    assert "3 tested inputs without a solution have the answer 0" in message
    assert len(read_split(settings.output, "train").inputs) == 9
    both = ArcDatasetOptions(**{**vars(settings), "challenges": settings.test_challenges, "force": True})
    with pytest.raises(InputError, match="the task b is in --challenges and in --test-challenges"):
        build_arc(both)


def test_the_published_tasks_make_a_dataset(published_data: Path, tmp_path: Path) -> None:
    stem = str(published_data / "data" / "arc" / "arc-agi_")
    build_arc(
        ArcDatasetOptions(
            challenges=(f"{stem}training_challenges.json",),
            test_challenges=(f"{stem}evaluation_challenges.json",),
            solutions=(f"{stem}training_solutions.json", f"{stem}evaluation_solutions.json"),
            augment=1,
            output=tmp_path,
        )
    )
    train, test = (read_split(tmp_path, split) for split in ("train", "test"))
    assert len(train.inputs) == 2 * (1302 + 416 + 1363)
    assert len(test.inputs) == 2 * 419
    assert len(identifiers.read_file(tmp_path / "identifiers.json")) == 1 + 2 * 800
    assert len(json.loads((tmp_path / "test_puzzles.json").read_text())) == 400
