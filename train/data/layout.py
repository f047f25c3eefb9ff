"""Datasets in the layout of the published TRM and HRM code, so that data built by either code trains with either.

    FOLDER/identifiers.json             names of the puzzle identifiers, by number; 0 is "<blank>"
    FOLDER/{train,test}/dataset.json    `Metadata`
    FOLDER/{train,test}/all__inputs.npy, all__labels.npy               integer [N, L], an example a row
    FOLDER/{train,test}/all__puzzle_identifiers.npy                    integer [P], of each puzzle
    FOLDER/{train,test}/all__puzzle_indices.npy, all__group_indices.npy

A split may have several sets of other names than "all", each with its own arrays, which are read one behind the other.
Puzzle p holds the examples from puzzle_indices[p] up to puzzle_indices[p + 1]; group g, a puzzle with its
augmentations, holds the puzzles from group_indices[g] up to group_indices[g + 1].
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trm_deploy.artefacts import foreign
from trm_deploy.errors import InputError, SpecError, shown
from trm_deploy.support import npy
from trm_deploy.support.files import atomic_path, check_output_folder, sha256, write_atomic
from trm_deploy.support.plain import from_plain

SET = "all"
SETS = re.compile(r"[\w-]{1,80}")
MAX_ID = (1 << 31) - 1
SPLITS = ("train", "test")
BLANK_IDENTIFIER = "<blank>"
ARRAYS = ("inputs", "labels", "puzzle_identifiers", "puzzle_indices", "group_indices")

Integers = NDArray[np.integer[Any]]


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """What `dataset.json` says; the names are the published ones.

    Attributes:
        seq_len: L, tokens of an example.
        vocab_size: V.
        num_puzzle_identifiers: rows of the puzzle-embedding table, the blank one included.
        pad_id: token that fills up an input.
        ignore_label_id: token of a label that the loss passes over; None where it passes over none.
        blank_identifier_id: puzzle identifier that means none.
        total_groups, total_puzzles, mean_puzzle_examples: statistics of the split.
        sets: names of the sets; ours have one, "all".
        sha256: digest in hexadecimal of each of `ARRAYS`, by its name; the published code writes none, and passes over
            ours.
    """

    seq_len: int
    vocab_size: int
    num_puzzle_identifiers: int
    pad_id: int = 0
    ignore_label_id: int | None = 0
    blank_identifier_id: int = 0
    total_groups: int = 0
    total_puzzles: int = 0
    mean_puzzle_examples: float = 1.0
    sets: tuple[str, ...] = (SET,)
    sha256: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Split:
    """The training or the test part of a dataset; inputs and labels may be mapped from disk."""

    metadata: Metadata
    inputs: Integers  # [N, L]
    labels: Integers  # [N, L]
    puzzle_identifiers: Integers  # [P]
    puzzle_indices: Integers  # [P + 1]
    group_indices: Integers  # [G + 1]

    @property
    def example_identifiers(self) -> Integers:
        """The puzzle identifier of each example, [N]."""
        return np.repeat(self.puzzle_identifiers, np.diff(self.puzzle_indices))


def metadata_of(path: Path) -> Metadata:
    """Read a `dataset.json`; keys that are not ours (other versions write more) are ignored.

    Raises:
        InputError: missing, not JSON, or a key is missing or of a wrong type.
    """
    try:
        document = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})", hint="expected a dataset's folder") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is not valid JSON ({error})") from error
    if not isinstance(document, dict):
        raise InputError(f"{path}: is a JSON {type(document).__name__}, expected an object")
    for key in ("seq_len", "vocab_size", "num_puzzle_identifiers"):
        value = document.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise InputError(f"{path}: the key {key!r} is {shown(value)}, expected a whole number of at least 1")
    known = {key: value for key, value in document.items() if key in Metadata.__dataclass_fields__}
    try:
        metadata = from_plain(Metadata, known, "dataset")
    except SpecError as error:
        raise InputError(f"{path}: {error}", hint="build the dataset again") from error
    ignored = metadata.ignore_label_id
    if ignored is not None and abs(ignored) > MAX_ID:
        raise InputError(f"{path}: the key 'ignore_label_id' is {ignored}, expected at most {MAX_ID}")
    return metadata


def read_split(folder: Path, split: str) -> Split:
    """One split of a dataset; inputs and labels are mapped, not read.

    Args:
        folder: the dataset's.
        split: ``train`` or ``test``; or "" where the folder is a split's own.

    Raises:
        InputError: an array is missing, damaged, of a wrong shape, or holds what the metadata do not allow.
    """
    place = folder / split
    metadata = metadata_of(place / "dataset.json")
    if not metadata.sets or len(set(metadata.sets)) < len(metadata.sets) or not all(map(SETS.fullmatch, metadata.sets)):
        raise InputError(f"{place / 'dataset.json'}: the key 'sets' is {shown(list(metadata.sets))}, expected names")
    found = [_read_set(place, name, metadata) for name in metadata.sets]
    return found[0] if len(found) == 1 else _joined(found)


def _read_set(place: Path, called: str, metadata: Metadata) -> Split:
    arrays = {name: _array(_path(place, name, called), metadata.sha256.get(name)) for name in ARRAYS}
    found = Split(metadata, **arrays)
    _check(found, place, called)
    return found


def _joined(sets: Sequence[Split]) -> Split:
    """The sets of a split one behind the other, in memory."""

    def indices(name: str) -> Integers:
        parts: list[Integers] = [np.zeros(1, np.int64)]
        for one in sets:
            parts.append(getattr(one, name)[1:] + parts[-1][-1])
        return np.concatenate(parts)

    return Split(
        sets[0].metadata,
        np.concatenate([one.inputs for one in sets]),
        np.concatenate([one.labels for one in sets]),
        np.concatenate([one.puzzle_identifiers for one in sets]),
        indices("puzzle_indices"),
        indices("group_indices"),
    )


def _path(place: Path, name: str, called: str = SET) -> Path:
    return place / f"{called}__{name}.npy"


def _array(path: Path, digest: object) -> Integers:
    """The array in a file, mapped; it must be the one of that digest, where there is one."""
    try:
        array = npy.open_array(path)
    except FileNotFoundError as error:
        raise InputError(f"{path}: there is no such file", hint="build the dataset again") from error
    except (OSError, ValueError) as error:
        known = foreign.recognize(path) if path.is_file() and not npy.is_npy(path) else None
        if known is not None:
            raise InputError(f"{path}: is {known.what}", hint=known.cure) from error
        raise InputError(
            f"{path}: is not an array, or a truncated one ({error})", hint="build the dataset again"
        ) from error
    if array.dtype.kind not in "iu":
        raise InputError(f"{path}: holds {array.dtype}, expected integers")
    if digest is not None and digest != sha256(path):
        raise InputError(
            f"{path}: is altered: its SHA-256 is not the one in dataset.json", hint="copy or build the dataset again"
        )
    return array


def _check(split: Split, place: Path, called: str) -> None:
    metadata = split.metadata

    def complain(name: str, what: str) -> None:
        raise InputError(f"{_path(place, name, called)}: {what}", hint="build the dataset again")

    for name in ("inputs", "labels"):
        array = getattr(split, name)
        if array.ndim != 2 or array.shape[1] != metadata.seq_len or not len(array):
            complain(name, f"has the shape {list(array.shape)}, dataset.json says [N, {metadata.seq_len}]")
    if len(split.inputs) != len(split.labels):
        complain("labels", f"has {len(split.labels)} rows, the inputs have {len(split.inputs)}")
    if split.puzzle_identifiers.ndim != 1:
        complain("puzzle_identifiers", f"has the shape {list(split.puzzle_identifiers.shape)}, expected a list")
    for name, last, of in (
        ("puzzle_indices", len(split.inputs), "examples"),
        ("group_indices", len(split.puzzle_identifiers), "puzzles"),
    ):
        array = getattr(split, name)
        if array.ndim != 1 or len(array) < 2 or array[0] != 0 or array[-1] != last or (array[1:] <= array[:-1]).any():
            complain(name, f"does not rise from 0 to the {last} {of}")
    identifiers = split.puzzle_identifiers
    if identifiers.shape != (len(split.puzzle_indices) - 1,):
        complain("puzzle_identifiers", f"has the shape {list(identifiers.shape)}, expected a number a puzzle")
    if identifiers.min() < 0 or identifiers.max() >= metadata.num_puzzle_identifiers:
        complain(
            "puzzle_identifiers",
            f"reaches from {identifiers.min()} to {identifiers.max()},"
            f" dataset.json allows 0 to {metadata.num_puzzle_identifiers - 1}",
        )
    for name in ("inputs", "labels"):
        array = getattr(split, name)
        if array.min() < 0 or array.max() >= metadata.vocab_size:
            complain(
                name, f"reaches from {array.min()} to {array.max()}, dataset.json allows 0 to {metadata.vocab_size - 1}"
            )


def write_split(folder: Path, split: str, data: Split) -> None:
    """Write one split; the metadata come last, so that a folder with them is whole."""
    place = folder / split
    for name in ARRAYS:
        with atomic_path(_path(place, name)) as temporary, temporary.open("wb") as file:
            np.save(file, getattr(data, name))
    _write_metadata(place, data.metadata)


def _write_metadata(place: Path, metadata: Metadata) -> None:
    """Write `dataset.json`, with the digests of the arrays beside it."""
    digests = {name: sha256(_path(place, name)) for name in ARRAYS}
    write_atomic(place / "dataset.json", json.dumps(asdict(replace(metadata, sha256=digests))))


def write_streamed(
    folder: Path,
    split: str,
    metadata: Metadata,
    examples: Iterable[tuple[NDArray[np.uint8], NDArray[np.uint8]]],
    *,
    puzzle_identifiers: Integers,
    puzzle_indices: Integers,
    group_indices: Integers,
) -> None:
    """`write_split` for a split that does not fit in memory.

    Args:
        folder, split, metadata: as there.
        examples: inputs and labels uint8 [n, L], a part at a time; as many in all as `puzzle_indices` ends with.
        puzzle_identifiers, puzzle_indices, group_indices: see `Split`.
    """
    place = folder / split
    shape = (int(puzzle_indices[-1]), metadata.seq_len)
    with contextlib.ExitStack() as stack:
        files = []
        for name in ("inputs", "labels"):
            temporary = stack.enter_context(atomic_path(_path(place, name)))
            files.append(stack.enter_context(temporary.open("wb")))
            header = {"descr": np.lib.format.dtype_to_descr(np.dtype(np.uint8)), "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(files[-1], header)
        for part in examples:
            for file, rows in zip(files, part):
                file.write(np.ascontiguousarray(rows).data)
    for name, array in (
        ("puzzle_identifiers", puzzle_identifiers),
        ("puzzle_indices", puzzle_indices),
        ("group_indices", group_indices),
    ):
        with atomic_path(_path(place, name)) as temporary, temporary.open("wb") as file:
            np.save(file, array)
    _write_metadata(place, metadata)


def write_identifiers(folder: Path, names: Sequence[str]) -> None:
    """Write `identifiers.json`: the name of each puzzle identifier; number 0 is the blank one."""
    write_atomic(folder / "identifiers.json", json.dumps(list(names)))


def check_output(folder: Path, *, force: bool) -> None:
    """Check before any work that writing a dataset into the folder replaces none.

    Args:
        folder: the dataset's, which need not exist.
        force: allow it.

    Raises:
        InputError: the folder holds a dataset, it is a file, or it cannot be written.
    """
    held = any((folder / split / "dataset.json").exists() for split in SPLITS)
    check_output_folder(folder, holds="a dataset" if held else "", force=force)


def remove_metadata(folder: Path) -> None:
    """Before a dataset is replaced: a split has no metadata until all of it is written anew."""
    for split in SPLITS:
        (folder / split / "dataset.json").unlink(missing_ok=True)


def write_dataset(folder: Path, splits: Mapping[str, Split], names: Sequence[str] = (BLANK_IDENTIFIER,)) -> None:
    """Write a dataset, in place of one that may be there: a split has no metadata until all of it is written.

    Args:
        folder: the dataset's.
        splits: by their names.
        names: of the puzzle identifiers.
    """
    remove_metadata(folder)
    write_identifiers(folder, names)
    for split, data in splits.items():
        write_split(folder, split, data)


def of_single_examples(inputs: Integers, labels: Integers, *, vocabulary: int, forms: int = 1) -> Split:
    """A split of puzzles that have one example each and no identifiers, as the published code builds it.

    Args:
        inputs, labels: [N, L].
        vocabulary: V.
        forms: consecutive examples that are forms of one puzzle, and so make a group.
    """
    examples, length = inputs.shape
    groups = examples // forms
    return Split(
        Metadata(
            seq_len=length,
            vocab_size=vocabulary,
            num_puzzle_identifiers=1,
            total_groups=groups,
            # The published code counts the groups here too.
            total_puzzles=groups,
        ),
        inputs,
        labels,
        puzzle_identifiers=np.zeros(examples, np.int32),
        puzzle_indices=np.arange(examples + 1, dtype=np.int32),
        group_indices=np.arange(groups + 1, dtype=np.int32) * forms,
    )
