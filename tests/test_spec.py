"""The spec survives JSON, refuses what it does not know, and contradictions name their key."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import PRESETS, tiny_spec
from trm_deploy.errors import SpecError
from trm_deploy.models.presets import preset
from trm_deploy.spec import ModelSpec


@pytest.mark.parametrize("name", PRESETS)
def test_json_round_trip(name: str) -> None:
    spec = tiny_spec(name)
    assert ModelSpec.from_json(spec.to_json()) == spec
    assert ModelSpec.from_json(spec.to_json(indent=2)) == spec


def test_the_json_fits_into_the_name_of_a_tensorrt_network() -> None:
    assert len(tiny_spec("trm-mlp", task="sudoku-9x9").to_json().encode()) <= 4095


def changed(*path: str, to: Any) -> str:
    document = json.loads(tiny_spec("trm-mlp").to_json())
    place = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = to
    return json.dumps(document)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is no valid JSON"),
        ("[]", "is a JSON list, expected an object"),
        ("{}", "has schema None, expected 1"),
        (changed("schema", to=2), "has schema 2, this trm-deploy reads up to 1; type: pip install --upgrade"),
        (changed("colour", to=1), "unknown key 'colour', expected one of architecture, halting, recursion, task"),
        (changed("recursion", to={"latent": 2}), "spec.recursion lacks the key 'deep'"),
        (changed("recursion", "latent", to=0), "recursion.latent is 0, expected at least 1"),
        (changed("recursion", "latent", to=True), "spec.recursion.latent is True, expected int"),
        (changed("recursion", "latent", to="2"), "spec.recursion.latent is '2', expected int"),
        (changed("architecture", "mixer", to="conv"), "'conv', expected one of 'mlp', 'attention'"),
        (changed("architecture", "positions", to="rotary"), "'rotary' with the MLP mixer"),
        (changed("architecture", "puzzle_embedding_size", to=65), "at most prefix_length * hidden_size = 64"),
        (changed("task", "vocabulary", to="abc"), "spec.task.vocabulary is 'abc', expected a list"),
        (changed("halting", to=[]), "spec.halting is [], expected an object"),
    ],
)
def test_what_does_not_fit_is_refused(text: str, message: str) -> None:
    with pytest.raises(SpecError) as raised:
        ModelSpec.from_json(text, source="x.onnx")
    assert message in str(raised.value)
    assert str(raised.value).startswith("x.onnx: ")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda s: st.lists(s) | st.dictionaries(st.text(), s)
    )
)
def test_any_json_is_a_spec_or_a_spec_error(document: Any) -> None:
    with pytest.raises(SpecError):
        ModelSpec.from_json(json.dumps(document))


def test_an_unknown_preset_or_setting_is_refused() -> None:
    task = tiny_spec("trm-mlp").task
    with pytest.raises(SpecError, match="'trm' is unknown, expected one of trm-mlp, trm-att"):
        preset("trm", task)
    with pytest.raises(SpecError, match="unknown key 'width'"):
        preset("trm-mlp", task, architecture={"width": 3})
    with pytest.raises(SpecError, match="a multiple of 16"):
        preset("trm-att", task, architecture={"hidden_size": 24, "puzzle_embedding_size": 24})
