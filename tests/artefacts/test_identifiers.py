"""The identifier map survives the way to disk, and a malformed one says where and what."""

from __future__ import annotations

from pathlib import Path

import pytest

from trm_deploy.artefacts import identifiers
from trm_deploy.errors import InputError


def test_names_come_back_in_order(tmp_path: Path) -> None:
    artefact = tmp_path / "arc.onnx"
    assert identifiers.read(artefact) is None
    names = ("<blank>", "<blank>", "007bbfb7", "007bbfb7|||t3|||0246813579", "größer")
    identifiers.write(artefact, names)
    assert identifiers.read(artefact) == names
    assert identifiers.path_of(artefact) == tmp_path / "arc.onnx.identifiers.json"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('["<blank>", 3]', "entry 1 is 3"),
        ('["a", "b", "a"]', "entries 0 and 2 are both 'a'"),
        ('{"a": 0}', "holds dict"),
        ("[]", "expected a JSON list of names"),
        ('["a"', "cannot be read"),
    ],
)
def test_a_malformed_map_is_refused(tmp_path: Path, text: str, message: str) -> None:
    artefact = tmp_path / "arc.onnx"
    identifiers.path_of(artefact).write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        identifiers.read(artefact)
    assert str(identifiers.path_of(artefact)) in str(caught.value)


def test_the_number_of_names_is_checked(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"names 2 puzzles, the model has 1,000,000 puzzle identifiers"):
        identifiers.check_count(("<blank>", "a"), 1_000_000, tmp_path / "identifiers.json")
