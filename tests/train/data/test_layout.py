from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from trm_deploy.errors import InputError
from trm_deploy.train.data.layout import ARRAYS, Metadata, Split, read_split, write_split


@pytest.fixture
def split() -> Split:
    rng = np.random.default_rng(0)
    examples = rng.integers(0, 5, (6, 4)).astype(np.int32)
    # Two groups: one puzzle of three examples; two puzzles, of one and two examples.
    return Split(
        Metadata(seq_len=4, vocab_size=5, num_puzzle_identifiers=4),
        examples,
        examples[::-1].copy(),
        np.array([1, 2, 3], np.int32),
        np.array([0, 3, 4, 6], np.int32),
        np.array([0, 1, 3], np.int32),
    )


def test_what_is_written_is_read(split: Split, tmp_path: Path) -> None:
    write_split(tmp_path, "train", split)
    found = read_split(tmp_path, "train")
    assert replace(found.metadata, sha256={}) == split.metadata
    assert set(found.metadata.sha256) == set(ARRAYS)
    assert np.array_equal(found.inputs, split.inputs)
    assert np.array_equal(found.labels, split.labels)
    assert found.example_identifiers.tolist() == [1, 1, 1, 2, 3, 3]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"inputs": np.full((6, 4), 5, np.int32)}, "all__inputs.npy: reaches from 5 to 5"),
        ({"labels": np.zeros((5, 4), np.int32)}, "all__labels.npy: has 5 rows, the inputs have 6"),
        ({"puzzle_indices": np.array([0, 3, 4, 5])}, "all__puzzle_indices.npy: does not rise from 0 to the 6 examples"),
        ({"puzzle_identifiers": np.array([1, 2, 4])}, "all__puzzle_identifiers.npy: reaches from 1 to 4"),
    ],
)
def test_a_contradiction_is_refused(split: Split, tmp_path: Path, change: dict[str, object], complaint: str) -> None:
    write_split(tmp_path, "test", replace(split, **change))  # type: ignore[arg-type]
    with pytest.raises(InputError, match=complaint):
        read_split(tmp_path, "test")


def test_a_missing_array_is_named(split: Split, tmp_path: Path) -> None:
    write_split(tmp_path, "train", split)
    (tmp_path / "train" / "all__labels.npy").unlink()
    with pytest.raises(InputError, match=r"all__labels\.npy: there is no such file"):
        read_split(tmp_path, "train")


def test_a_pointer_in_the_place_of_an_array_is_named(split: Split, tmp_path: Path) -> None:
    write_split(tmp_path, "train", split)
    path = tmp_path / "train" / "all__inputs.npy"
    path.write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{'a' * 64}\nsize 99\n")
    with pytest.raises(InputError, match=r"all__inputs\.npy: is a git-lfs pointer to a file of 99 bytes"):
        read_split(tmp_path, "train")


def test_sets_of_other_names_are_read_one_behind_the_other(split: Split, tmp_path: Path) -> None:
    place = tmp_path / "test"
    write_split(tmp_path, "test", split)
    document = {**json.loads((place / "dataset.json").read_text()), "sha256": {}}
    for file in list(place.glob("all__*.npy")):
        for name in ("easy", "hard"):
            shutil.copy(file, place / file.name.replace("all__", f"{name}__"))
        file.unlink()
    (place / "dataset.json").write_text(json.dumps({**document, "sets": ["easy", "hard"]}))
    found = read_split(tmp_path, "test")
    assert np.array_equal(found.inputs, np.concatenate([split.inputs] * 2))
    assert found.example_identifiers.tolist() == [1, 1, 1, 2, 3, 3] * 2
    assert found.group_indices.tolist() == [0, 1, 3, 4, 6]
    (place / "dataset.json").write_text(json.dumps({**document, "sets": ["hard"]}))
    assert np.array_equal(read_split(tmp_path, "test").labels, split.labels)
    for sets in ([], ["easy", "easy"], ["../train/all"]):
        (place / "dataset.json").write_text(json.dumps({**document, "sets": sets}))
        with pytest.raises(InputError, match=r"the key 'sets' is .*, expected names"):
            read_split(tmp_path, "test")
    (place / "dataset.json").write_text(json.dumps({**document, "sets": ["easy", "other"]}))
    with pytest.raises(InputError, match=r"other__inputs\.npy: there is no such file"):
        read_split(tmp_path, "test")
