"""Whatever is in a spec, a record, a recipe or a dataset's folder, it is read or refused."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from tests.conftest import ASSETS, tiny_spec
from tests.hostile.parsers.properties import (
    VALUES,
    as_json,
    attempted,
    changed,
    parser,
    spoiled,
)
from trm_deploy.artefacts import identifiers, record
from trm_deploy.spec import ModelSpec
from trm_deploy.train import recipe
from trm_deploy.train.data import layout as dataset

SPECS = [json.loads(tiny_spec(name).to_json()) for name in ("trm-mlp", "trm-att", "hrm")]


@parser(st.data(), share=2)
def test_model_specs(data: st.DataObject) -> None:
    document = data.draw(changed(data.draw(st.sampled_from(SPECS))))
    text = as_json(document)
    if not data.draw(st.integers(0, 5)):
        text = data.draw(st.text(max_size=50)) or "[" * 100_000
    found = attempted(lambda: ModelSpec.from_json(text, source="x.onnx"))
    if found is not None:
        assert ModelSpec.from_json(found.to_json()) == found
        found.to_json().encode()


RECORD = json.loads((ASSETS / "sudoku.onnx.json").read_text())


@parser(st.data())
def test_build_records(folder: Path, data: st.DataObject) -> None:
    artefact = folder / "s.onnx"
    text = as_json(data.draw(changed(RECORD))).encode()
    record.path_of(artefact).write_bytes(data.draw(st.just(text) | spoiled(text) | st.binary(max_size=40)))
    found = attempted(lambda: record.read(artefact))
    if found is not None:
        record.write(artefact, found)
        assert record.read(artefact) == found


@parser(st.data())
def test_identifier_maps(folder: Path, data: st.DataObject) -> None:
    path = folder / "identifiers.json"
    names = data.draw(st.lists(st.text(max_size=8), max_size=5, unique=True) | VALUES)
    text = as_json(names).encode()
    path.write_bytes(data.draw(st.just(text) | spoiled(text) | st.binary(max_size=40)))
    found = attempted(lambda: identifiers.read_file(path))
    if found is not None:
        identifiers.write(folder / "a.onnx", found)
        assert identifiers.read(folder / "a.onnx") == found


RECIPE_VALUES = st.sampled_from(
    [
        *("0", "-1", "1000000000", "9223372036854775807", "1e308", "inf", "-inf", "nan", '""', "[]", "{}", "true"),
        *("0x" + "f" * 9000, "9" * 5000, "[" * 500 + "]" * 500, "2024-01-01", '"\\ud800"', "'x'", '"cuda"', "1.5"),
        *(
            "[[[1]]]",
            "{ a = 1 }",
            "'''\n'''",
            "[{ until = 0.5, deep = 1e3 }]",
            "[{ until = nan, deep = 3 }]",
            '"trm-att"',
        ),
    ]
)


@parser(st.data())
def test_recipes(data: st.DataObject) -> None:
    text = data.draw(st.sampled_from(sorted(recipe.shipped().values())))
    lines = text.splitlines()
    places = [number for number, line in enumerate(lines) if "=" in line and not line.startswith("#")]
    for _ in range(data.draw(st.integers(1, 2))):
        number = data.draw(st.sampled_from(places))
        lines[number] = lines[number].partition("=")[0] + "= " + data.draw(RECIPE_VALUES)
    text = "\n".join(lines)
    if not data.draw(st.integers(0, 3)):
        text = data.draw(spoiled(text.encode())).decode("utf-8", "replace")
    found = attempted(lambda: recipe.parse(text, source="r.toml"))
    assert found is None or isinstance(found, recipe.Recipe)


@st.composite
def arrays(draw: st.DrawFn) -> bytes:
    """A NumPy file: of another type or shape, with a header that makes no sense, or rubbish."""
    kind = draw(st.sampled_from(["<i4", ">i8", "|u1", "<u8", "<f4", "<m8[s]", "|O", "|S3", "|b1"]))
    shape = tuple(draw(st.lists(st.integers(0, 5), max_size=3)))
    buffer = io.BytesIO()
    count = int(np.prod(shape))
    values = [draw(st.integers(0, 6)) for _ in range(count)]
    np.save(buffer, np.array(values).astype(kind).reshape(shape), allow_pickle=True)
    header = draw(
        st.just(buffer.getvalue())
        | spoiled(buffer.getvalue())
        | st.text(max_size=60).map(lambda text: npy_of(f"{{'descr': '<i4', 'fortran_order': False, 'shape': {text}}}"))
        | st.sampled_from(["(10**9,)", "(99999999999999999999,)", "(-1,)", "(True,)", "(" * 200, "()", "9" * 5000]).map(
            lambda text: npy_of(f"{{'descr': '<i4', 'fortran_order': False, 'shape': {text}}}")
        )
    )
    return header


def npy_of(header: str) -> bytes:
    data = header.encode("latin-1", "replace")[:60_000] + b"\n"
    return b"\x93NUMPY\x01\x00" + len(data).to_bytes(2, "little") + data


@parser(st.data(), share=1.5)
def test_dataset_folders(folder: Path, data: st.DataObject) -> None:
    place = folder / "dataset"
    if not (place / "sound").exists():
        rng = np.random.default_rng(0)
        tokens = rng.integers(1, 6, (6, 4)).astype(np.uint8)
        dataset.write_split(place, "train", dataset.of_single_examples(tokens, tokens, vocabulary=6, forms=2))
        (place / "sound").mkdir()
        for file in (place / "train").iterdir():
            (place / "sound" / file.name).write_bytes(file.read_bytes())
    for file in (place / "sound").iterdir():
        (place / "train" / file.name).write_bytes(file.read_bytes())
    sound = json.loads((place / "sound" / "dataset.json").read_text())
    del sound["sha256"]  # the published code writes none
    metadata = place / "train" / "dataset.json"
    metadata.write_text(as_json(sound))
    if data.draw(st.booleans()):
        metadata.write_text(as_json(data.draw(changed(sound))))
    else:
        file = place / "train" / f"all__{data.draw(st.sampled_from(dataset.ARRAYS))}.npy"
        file.write_bytes(data.draw(arrays() | spoiled(file.read_bytes())))
    found = attempted(lambda: dataset.read_split(place, "train"))
    if found is not None:
        # What passes can be trained on: every number that is looked up is in its range.
        assert 0 <= found.inputs.min() <= found.inputs.max() < found.metadata.vocab_size
        assert len(found.example_identifiers) == len(found.inputs)
        assert found.example_identifiers.max() < found.metadata.num_puzzle_identifiers
