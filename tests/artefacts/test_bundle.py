"""A bundle reaches the disk as one: whole files alone, and at no moment a file of another artefact beside it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trm_deploy.artefacts import bundle, embeddings, identifiers, record
from trm_deploy.artefacts.record import BuildRecord
from trm_deploy.artefacts.side_file import SideFile
from trm_deploy.errors import ParityFailure, TrmDeployError
from trm_deploy.spec import Architecture, ModelSpec, Recursion, TaskSpec
from trm_deploy.support.files import sha256

SPEC = ModelSpec(
    task=TaskSpec(name="", sequence_length=4, vocabulary=("a", "b"), puzzle_identifiers=3),
    architecture=Architecture(hidden_size=8, puzzle_embedding_size=8),
    recursion=Recursion(latent=1, deep=1),
)
ABOUT = BuildRecord(
    graph="loop",
    precision="fp32",
    precision_source="network",
    checkpoint_sha256="",
    artefact_sha256="",
    opset=20,
    ir_version=10,
    versions={},
    halting_threshold=0.0,
)


def table(value: float) -> np.ndarray:
    return np.full((3, 8), value, np.float32)


def publish(target: Path, content: bytes, *, value: float | None = None, names: Any = None, **how: Any) -> BuildRecord:
    with bundle.staged(target) as staging:
        staging.artefact.write_bytes(content)
        if value is not None:
            staging.add(embeddings.FILE, ([table(value)], SPEC))
        staging.add(identifiers.FILE, names)
        return staging.publish(ABOUT, **how)


def test_everything_is_published_and_described(tmp_path: Path) -> None:
    target = tmp_path / "new" / "m.onnx"
    built = publish(target, b"one", value=1.0, names=("a", "b", "c"), check=lambda artefact: {"passed": True})
    assert [path.name for path in bundle.present(target)] == [
        "m.onnx",
        "m.onnx.embeddings.npy",
        "m.onnx.identifiers.json",
        "m.onnx.json",
    ]
    assert sorted(tmp_path.rglob("*")) == sorted([target.parent, *bundle.present(target)]), "nothing else is left"
    assert record.read_matching(target) == built
    assert (built.artefact_sha256, built.parity) == (sha256(target), {"passed": True})
    digest = sha256(embeddings.path_of(target))
    assert built.puzzle_embeddings == {"shape": [3, 8], "dtype": "float32", "sha256": digest}


def test_side_files_that_no_longer_belong_are_removed(tmp_path: Path) -> None:
    target = tmp_path / "m.onnx"
    publish(target, b"one", value=1.0, names=("a", "b", "c"))
    assert publish(target, b"two").puzzle_embeddings == {}
    assert {path.name for path in tmp_path.iterdir()} == {"m.onnx", "m.onnx.json"}


def test_the_check_sees_the_whole_bundle_and_may_refuse_it(tmp_path: Path) -> None:
    target = tmp_path / "m.onnx"
    publish(target, b"one", value=1.0)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def check(artefact: Path) -> dict[str, Any]:
        assert artefact.name == "m.onnx"
        assert artefact.read_bytes() == b"two"
        built = record.read_matching(artefact)
        assert built is not None
        np.testing.assert_array_equal(np.load(embeddings.path_of(artefact)), table(2.0))
        raise ParityFailure("m.onnx: another answer")

    with pytest.raises(ParityFailure, match="another answer"):
        publish(target, b"two", value=2.0, check=check)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.fixture
def changes(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Interrupts before the n-th change of a name, where n is the list's number."""
    left = [10**9]

    def counted(change: Any) -> Any:
        def counting(*arguments: Any, **named: Any) -> Any:
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
            return change(*arguments, **named)

        return counting

    monkeypatch.setattr(Path, "unlink", counted(Path.unlink))
    monkeypatch.setattr(Path, "replace", counted(Path.replace))
    yield left
    left[0] = 10**9


def test_an_interruption_at_any_change_mixes_no_two_bundles(tmp_path: Path, changes: list[int]) -> None:
    old, new = (1.0, ("a", "b", "c")), (2.0, ("x", "y", "z"))
    seen = set()
    for number in range(20):
        target = tmp_path / str(number) / "m.onnx"
        publish(target, b"old", value=old[0], names=old[1])
        changes[0] = number
        try:
            publish(target, b"new", value=new[0], names=new[1])
            whole = True
        except KeyboardInterrupt:
            whole = False
        changes[0] = 10**9
        content = target.read_bytes()
        value, names = old if content == b"old" else new
        assert content in (b"old", b"new")
        found = embeddings.path_of(target)
        if found.exists():
            np.testing.assert_array_equal(np.load(found), table(value))
        assert identifiers.read(target) in (None, names)
        record.read_matching(target)  # raises where it is another file's
        assert {path.suffix for path in target.parent.iterdir()} <= {".onnx", ".json", ".npy"}
        seen.add((content, len(bundle.present(target))))
        if whole:
            break
    # Before any change, one by one without its side files, then the new one with more and more of them.
    assert [count for content, count in sorted(seen) if content == b"new"] == [1, 2, 3, 4]
    assert [count for content, count in sorted(seen) if content == b"old"] == [1, 2, 3, 4]


def test_a_full_disk_leaves_the_old_bundle_and_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "m.onnx"
    publish(target, b"one")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(path: Path, value: Any) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(record, "FILE", replace(record.FILE, write_file=full))
    with pytest.raises(TrmDeployError, match=r"m\.onnx\.json: cannot be written \(No space left on device\)"):
        publish(target, b"two")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("links", [True, False])
def test_carried_files_are_links_where_the_disk_has_them(
    links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = tmp_path / "m.onnx", tmp_path / "m.plan"
    publish(source, b"one", value=1.0, names=("a", "b", "c"))
    if not links:

        def refused(*arguments: Any, **named: Any) -> None:
            raise OSError(1, "Operation not permitted")

        monkeypatch.setattr(os, "link", refused)
    for _ in range(2):  # the second time over its own link
        with bundle.staged(target) as staging:
            staging.artefact.write_bytes(b"plan")
            staging.carry(source, embeddings.FILE)
            staging.carry(source, identifiers.FILE)
            built = staging.publish(ABOUT)
        assert embeddings.path_of(target).samefile(embeddings.path_of(source)) == links
        assert built.puzzle_embeddings["sha256"] == sha256(embeddings.path_of(source))
        assert identifiers.read(target) == ("a", "b", "c")


def test_a_further_side_file_is_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notes: SideFile[str, str] = SideFile(".notes.txt", Path.read_text, Path.write_text)
    monkeypatch.setattr(bundle, "SIDE_FILES", (notes, *bundle.SIDE_FILES))
    source, target = tmp_path / "m.onnx", tmp_path / "m.plan"
    with bundle.staged(source) as staging:
        staging.artefact.write_bytes(b"one")
        staging.add(notes, "made on a Tuesday")
        staging.publish(ABOUT)
    with bundle.staged(target) as staging:
        staging.artefact.write_bytes(b"plan")
        staging.carry(source, notes)
        staging.publish(ABOUT)
    assert notes.read(target) == "made on a Tuesday"
    publish(target, b"plan")
    assert notes.read(target) is None


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TrmDeployError, match=r"m\.onnx: cannot be written \(Not a directory\)"):
        publish(tmp_path / "file" / "m.onnx", b"one")
