"""The spec survives JSON, refuses what it does not know, and contradictions name their key."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import PRESETS, tiny_spec
from trm_deploy.errors import SpecError
from trm_deploy.models.presets import preset
from trm_deploy.models.recursive import RecursiveReasoner
from trm_deploy.spec import ModelSpec, Recursion, TaskSpec


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
        (changed("architecture", "positions", to="rotary-2d"), "'rotary-2d' with the MLP mixer"),
        (changed("architecture", "puzzle_embedding_size", to=65), "at most prefix_length * hidden_size = 64"),
        (changed("architecture", "latents", to=-1), "architecture.latents is -1, expected 0 or more"),
        (changed("architecture", "latents", to=3), "architecture.latents is 3 with recursion.latent = 2"),
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
    with pytest.raises(SpecError, match="'gpt' is unknown, expected one of trm, trm-mlp, trm-att, hrm"):
        preset("gpt", task)
    with pytest.raises(SpecError, match="unknown key 'width'"):
        preset("trm-mlp", task, architecture={"width": 3})
    in_2d = {"positions": "rotary-2d"}
    with pytest.raises(SpecError, match="is 'rotary-2d' with 80 tokens, expected those of a square grid"):
        preset("trm-att", dataclasses.replace(task, sequence_length=80), architecture=in_2d)
    with pytest.raises(SpecError, match="a multiple of 32"):
        preset("trm-att", task, architecture={"hidden_size": 48, "puzzle_embedding_size": 48, **in_2d})
    with pytest.raises(SpecError, match="a multiple of 16"):
        preset("trm-att", task, architecture={"hidden_size": 24, "puzzle_embedding_size": 24})


@pytest.mark.parametrize(
    ("length", "architecture", "mixer", "positions", "latent"),
    [
        (81, {}, "mlp", "none", 6),
        (512, {}, "mlp", "none", 6),
        (513, {}, "attention", "rotary", 4),
        (81, {"hidden_size": 64, "puzzle_embedding_size": 64}, "attention", "rotary", 4),
        (81, {"mixer": "attention"}, "attention", "rotary", 4),
        (900, {"mixer": "mlp", "positions": "learned"}, "mlp", "learned", 6),
    ],
)
def test_the_preset_trm_chooses_the_mixer_by_length_and_width_where_none_is_named(
    length: int, architecture: dict[str, Any], mixer: str, positions: str, latent: int
) -> None:
    task = TaskSpec(name="", sequence_length=length, vocabulary=("a", "b"))
    spec = preset("trm", task, architecture=architecture)
    assert (spec.architecture.mixer, spec.architecture.positions, spec.recursion.latent) == (mixer, positions, latent)
    # The spec that travels names the mixer, so that nothing is chosen again by who reads it.
    assert json.loads(spec.to_json())["architecture"]["mixer"] == mixer


def test_the_preset_hrm_is_the_published_sudoku_model() -> None:
    task = TaskSpec(name="", sequence_length=81, vocabulary=tuple("0123456789x"))
    with torch.device("meta"):
        model = RecursiveReasoner(preset("hrm", task))
    # "27 million parameters" (arXiv 2506.21734): 2 networks x 4 layers x (4 D D + 3 D 1536), and the embeddings.
    assert sum(p.numel() for p in model.networks.parameters()) == 2 * 4 * (4 * 512 * 512 + 3 * 512 * 1536)
    assert model.spec.halting.rule == "halt-continue"
    assert model.spec.recursion == Recursion(latent=2, deep=2)


def test_a_preset_with_an_unreadable_width_is_refused_as_such() -> None:
    with pytest.raises(SpecError, match=r"architecture\.hidden_size is 'wide', expected int"):
        preset("trm", tiny_spec("trm-mlp").task, architecture={"hidden_size": "wide"})
