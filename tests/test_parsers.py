"""Whatever comes in, every parser gives a result or one of the project's errors; and text -> tokens -> text is the
identity. `make hostile` tries the same properties with thousands of examples each.
"""

from __future__ import annotations

import collections
import copy
import functools
import io
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from tests.conftest import ASSETS, random_model, tiny_spec
from trm_deploy import checkpoints, puzzles
from trm_deploy.artefacts import identifiers, onnx_file, record
from trm_deploy.artefacts.onnx_file import GRAPH_KEY, METADATA_KEY, STEPS_KEY
from trm_deploy.checkpoints import Checkpoint
from trm_deploy.checkpoints.published import from_document, published_name
from trm_deploy.errors import InputError, PuzzleError, TrmDeployError, shown
from trm_deploy.export.engine.build import BatchProfile
from trm_deploy.models.presets import preset
from trm_deploy.models.recursive import RecursiveReasoner
from trm_deploy.puzzles import arc, arc_tasks, reading
from trm_deploy.puzzles.arc import Augmentation
from trm_deploy.puzzles.base import TextPuzzle
from trm_deploy.puzzles.maze import Maze
from trm_deploy.puzzles.sudoku import Sudoku
from trm_deploy.spec import ModelSpec, TaskSpec
from trm_deploy.support.jsontext import dumps
from trm_deploy.train import recipe
from trm_deploy.train.data import layout as dataset
from trm_deploy.trt import plan_file as plans

EXAMPLES = int(os.environ.get("TRM_DEPLOY_EXAMPLES", "25"))
COUNTS: collections.Counter[str] = collections.Counter()
TEXT_PUZZLES: tuple[TextPuzzle, ...] = (Sudoku(2, 2), Sudoku(2, 3), Sudoku(3, 3), Maze(2, 3), Maze(5, 6))

# What a slip, a damaged disk or an ill will may put in a value's place.
NASTY: list[Any] = [
    *(0, -1, True, None, "", [], {}, 10**9, 2**63, -(2**63), 10**400, 1e308, float("inf"), float("-inf"), float("nan")),
    *("²", "٣", "\ud800", "\0", "9" * 5000, [[[[[[]]]]]], {"a": {"b": {}}}, "fp32", "x" * 10_000, 0.5, 1e-300),
]
VALUES = st.sampled_from(NASTY) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


def parser(*strategies: st.SearchStrategy[Any], share: float = 1.0) -> Callable[[Callable[..., None]], Any]:
    """A property that is tried with a share of the examples, always the same ones, and counted."""

    def decorate(test: Callable[..., None]) -> Any:
        @functools.wraps(test)
        def counted(*arguments: Any, **keywords: Any) -> None:
            COUNTS[test.__name__.removeprefix("test_")] += 1
            test(*arguments, **keywords)

        chosen = settings(max_examples=max(int(EXAMPLES * share), 5), derandomize=True, deadline=None, database=None)
        return chosen(given(*strategies)(counted))

    return decorate


@pytest.fixture(scope="session", autouse=True)
def report() -> Iterator[None]:
    yield
    if place := os.environ.get("TRM_DEPLOY_EXAMPLE_COUNTS"):
        Path(place).write_text(json.dumps(COUNTS))


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("parsers")


def attempted(read: Callable[[], Any]) -> Any:
    """The result, or None where it was refused; anything but our own errors fails the test."""
    try:
        return read()
    except TrmDeployError as error:
        message = str(error)
        assert message.strip()
        assert len(message) < 5000, "a message is one line"
        message.encode("utf-8", "backslashreplace")
        return None


def changed_in(draw: st.DrawFn, document: Any) -> Any:
    """A document with some of its values changed, keys taken away or added."""
    document = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 2))):
        place = document
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            inner = place[key]
            if isinstance(inner, (dict, list)) and inner and draw(st.integers(0, 4)):
                place = inner
                continue
            what = draw(st.integers(0, 9))
            if what == 0:
                del place[key]
            elif what == 1 and isinstance(place, dict):
                place[draw(st.text(max_size=10))] = copy.deepcopy(draw(VALUES))
            else:
                place[key] = copy.deepcopy(draw(VALUES))
            break
    return document


@st.composite
def changed(draw: st.DrawFn, document: Any) -> Any:
    return changed_in(draw, document)


@st.composite
def spoiled(draw: st.DrawFn, data: bytes) -> bytes:
    """Bytes with some of them changed, cut out, doubled or cut off."""
    made = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        if not made:
            break
        start = draw(st.integers(0, len(made) - 1))
        end = min(start + draw(st.integers(1, 8)), len(made))
        what = draw(st.integers(0, 4))
        if what == 0:
            del made[start:]
        elif what == 1:
            del made[start:end]
        elif what == 2:
            made[start:start] = made[start:end]
        else:
            made[start:end] = draw(st.binary(min_size=1, max_size=8))
    return bytes(made)


def as_json(document: Any) -> str:
    return json.dumps(document)


# ---------------------------------------------------------------------------------------------------- puzzles


@st.composite
def puzzle_files(draw: st.DrawFn, puzzle: TextPuzzle) -> bytes:
    """Rubbish, and puzzles as lines, grids and CSV with something wrong in them."""
    if not draw(st.integers(0, 4)):
        return draw(st.binary(max_size=400))
    symbols = "# SGo." if isinstance(puzzle, Maze) else "0123456789._"
    line = draw(st.text(symbols, min_size=puzzle.cells, max_size=puzzle.cells))
    columns = puzzle.form.columns
    grid = "\n".join(line[start : start + columns] for start in range(0, len(line), columns))
    forms = (
        line,
        grid,
        f"{grid}\n\n{grid}",
        f"puzzle,answer\n{line},{line}\n",
        f'question\n"{line}"\n',
        f"a,b\n{line},7",
    )
    whole = draw(st.sampled_from(forms)).encode()
    return draw(st.just(whole) | spoiled(whole))


@parser(st.data())
def test_puzzle_files(folder: Path, data: st.DataObject) -> None:
    puzzle = data.draw(st.sampled_from(TEXT_PUZZLES))
    content = data.draw(puzzle_files(puzzle))
    path = folder / "puzzles.txt"
    path.write_bytes(content)
    found = attempted(lambda: list(reading.read(str(path), puzzle))) or []
    for question in found:
        assert (question.tokens is None) == bool(question.error)
        if question.tokens is not None:
            assert puzzle.question_faults(question.tokens) == []
            np.testing.assert_array_equal(puzzle.parse_line(puzzle.text(question.tokens)), question.tokens)
    attempted(lambda: list(reading.read_answered(str(path), puzzle)))
    # Standard input reads as the file does.
    before, sys.stdin = sys.stdin, SimpleNamespace(buffer=io.BytesIO(content))
    try:
        piped = attempted(lambda: list(reading.read("-", puzzle))) or []
    finally:
        sys.stdin = before
    assert [question.text for question in piped] == [question.text for question in found]


@parser(st.data())
def test_text_to_tokens_to_text(folder: Path, data: st.DataObject) -> None:
    """As a line, as a grid, in a CSV file: what was written comes back."""
    puzzle = data.draw(st.sampled_from(TEXT_PUZZLES))
    line = data.draw(
        st.text("".join(puzzle.vocabulary[1:]).replace(".", "0"), min_size=puzzle.cells, max_size=puzzle.cells)
    )
    assert puzzle.text(puzzle.parse_line(line)) == line
    path = folder / "identity.txt"
    columns = puzzle.form.columns
    grid = "\n".join(line[start : start + columns] for start in range(0, len(line), columns))
    for content in (line, grid, f"puzzle\n{line}\n", f"answer,question,x\n,{line},\n"):
        path.write_text(content + "\n")
        found = attempted(lambda: list(reading.read(str(path), puzzle)))
        for question in found or []:
            if question.tokens is not None:
                assert puzzle.text(question.tokens) == line


@parser(st.text(max_size=40) | st.from_regex(r"(sudoku|maze|arc)-?[0-9]{0,4}x?[0-9]{0,5}", fullmatch=True))
def test_task_names(name: str) -> None:
    found = attempted(lambda: puzzles.get(name))
    assert found is None or found.name == name


GRIDS = st.lists(st.lists(st.integers(0, 9), min_size=3, max_size=3), min_size=1, max_size=4)
PAIR = st.fixed_dictionaries({"input": GRIDS, "output": GRIDS})
TASK = st.fixed_dictionaries({"train": st.lists(PAIR, max_size=2), "test": st.lists(PAIR, min_size=1, max_size=2)})


@parser(st.data())
def test_arc_files(folder: Path, data: st.DataObject) -> None:
    document: Any = data.draw(
        st.one_of(TASK, st.dictionaries(st.text(max_size=8), TASK, min_size=1, max_size=2), VALUES)
    )
    if isinstance(document, dict) and document and data.draw(st.booleans()):
        document = data.draw(changed(document))
    text = as_json(document).encode()
    path = folder / "task.json"
    path.write_bytes(data.draw(st.just(text) | spoiled(text)))
    for task in attempted(lambda: arc_tasks.read_tasks([str(path)])) or []:
        for pair in (*task.train, *task.test):
            line = arc.text_of(pair.input)
            assert arc.Arc().text(arc.Arc().parse_line(line)) == line
            assert arc.Arc().question_faults(arc.to_tokens(pair.input)) == []
    attempted(lambda: list(arc_tasks.questions(str(path))))
    attempted(lambda: arc_tasks.read_solutions([str(path)]))


@parser(st.text(max_size=60) | st.text("0123456789 \n", max_size=60))
def test_arc_grids_in_text(line: str) -> None:
    found = attempted(lambda: arc.Arc().parse_line(line))
    if found is not None:
        assert arc.Arc().text(found).split() == line.split()


@parser(
    st.text(max_size=30)
    | st.from_regex(r"[a-z0-9]{0,3}\|\|\|t?[0-9²٣]{0,2}\|\|\|[0-9²٣]{0,11}", fullmatch=True)
    | st.integers(0, 9).map(lambda seed: arc.identifier_name("a", Augmentation.random(np.random.default_rng(seed))))
)
def test_arc_identifiers(name: str) -> None:
    try:
        task, augmentation = arc.parse_identifier(name)
    except PuzzleError:
        return
    if augmentation != arc.IDENTITY:
        assert arc.identifier_name(task, augmentation) == name


# ------------------------------------------------------------------------------------- specs, records, recipes


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


# --------------------------------------------------------------------------------------------- dataset folders


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


# ------------------------------------------------------------------------------------------ published settings


@functools.cache
def published_state() -> dict[str, torch.Tensor]:
    model = random_model(preset("trm-mlp", TINY_TASK, architecture=TINY))
    return {published_name(name): value for name, value in model.state_dict().items()}


TINY_TASK = TaskSpec(name="sudoku-4x4", sequence_length=16, vocabulary=Sudoku(2, 2).vocabulary)
TINY = {"hidden_size": 32, "puzzle_embedding_size": 32, "prefix_length": 1}
CONFIG = """arch:
  name: recursive_reasoning.trm@TinyRecursiveReasoningModel_ACTV1
  H_cycles: 3
  L_cycles: 6
  L_layers: 2
  halt_max_steps: 16
  expansion: 4
  hidden_size: 32
  num_heads: 8
  mlp_t: true
  pos_encodings: none
  puzzle_emb_ndim: 32
  puzzle_emb_len: 1
  no_ACT_continue: true
  rms_norm_eps: 1e-05
"""
PUBLISHED_DATASET = {"seq_len": 16, "vocab_size": 6, "num_puzzle_identifiers": 1}
YAML_VALUES = st.sampled_from(
    [
        *(
            "0",
            "-1",
            "1e400",
            ".inf",
            ".nan",
            "2024-99-99",
            "!!python/name:os.system",
            "&a [*a]",
            "[[[[]]]]",
            "~",
            "{}",
        ),
        *("9" * 5000, "0x" + "f" * 5000, "1:2:3:4", "'x'", '"\\uD800"', "*nowhere", "1_0", "yes", "3.5", "1" * 400),
    ]
)


@parser(st.data())
def test_published_settings(folder: Path, data: st.DataObject) -> None:
    place = folder / "published"
    place.mkdir(exist_ok=True)
    (place / "step_1").touch()
    lines = CONFIG.splitlines()
    number = data.draw(st.integers(1, len(lines) - 1))
    lines[number] = lines[number].partition(":")[0] + ": " + data.draw(YAML_VALUES)
    text = "\n".join(data.draw(st.sampled_from([lines, CONFIG.splitlines()]))).encode()
    (place / "all_config.yaml").write_bytes(data.draw(st.just(text) | spoiled(text) | st.binary(max_size=60)))
    document = data.draw(st.just(PUBLISHED_DATASET) | changed(PUBLISHED_DATASET))
    (place / "dataset.json").write_text(as_json(document))
    keys = st.sampled_from(
        ["arch.H_cycles", "arch.expansion", "seq_len", "task", "arch.mlp_t", "arch.rope_theta", "x", ""]
    )
    flags = data.draw(
        st.lists(st.tuples(keys, st.text(max_size=8) | st.sampled_from(["1", "nan", "9" * 5000])), max_size=2)
    )
    found = attempted(
        lambda: from_document(place / "step_1", published_state(), [f"{key}={value}" for key, value in flags])
    )
    if found is not None:
        assert ModelSpec.from_json(found.spec.to_json()) == found.spec


# ---------------------------------------------------------------------------------------------------- binaries


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


# Messages of messages with the field numbers of onnx.proto.
PROTOBUF = st.recursive(
    st.binary(max_size=12) | st.integers(0, 2**64).map(lambda value: b"\x08" + varint(value)),
    lambda inner: st.lists(st.tuples(st.sampled_from([1, 2, 4, 5, 6, 7, 8, 14]), inner), max_size=4).map(
        lambda parts: b"".join(field(number, content) for number, content in parts)
    ),
    max_leaves=12,
)


@functools.cache
def small_onnx() -> bytes:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [value], [value])
    model = helper.make_model(graph)
    helper.set_model_props(
        model, {METADATA_KEY: tiny_spec("trm-mlp").to_json(), GRAPH_KEY: "unrolled", STEPS_KEY: "16"}
    )
    return bytes(model.SerializeToString())


@parser(st.data(), share=2)
def test_onnx_files(folder: Path, data: st.DataObject) -> None:
    path = folder / "s.onnx"
    path.write_bytes(data.draw(spoiled(small_onnx()) | PROTOBUF | st.binary(max_size=60) | deep_graphs()))
    if data.draw(st.booleans()):
        onnx_file.seal(path)
    found = attempted(lambda: onnx_file.read(path))
    if found is not None:
        assert found.steps is None or found.steps > 0


def deep_graphs() -> st.SearchStrategy[bytes]:
    """Graphs inside the loops of graphs, so many deep."""

    def nested(depth: int) -> bytes:
        graph = b""
        for _ in range(depth):
            graph = field(1, field(4, b"Loop") + field(5, field(6, graph)))
        return b"\x08\x0a" + field(7, graph)

    return st.sampled_from([1, 16, 17, 1000]).map(nested)


@parser(st.data())
def test_plans(folder: Path, data: st.DataObject) -> None:
    path = folder / "s.plan"
    spec = tiny_spec("trm-mlp").to_json().encode()
    whole = data.draw(st.sampled_from([b"ftrt", b"vtrt"])) + bytes(24) + spec + b"\0 max_steps y_next tokens"
    start = st.just(b'{"schema":' * 2000)
    path.write_bytes(whole[:4] + data.draw(spoiled(whole[4:]) | st.just(whole[4:]) | start | st.binary(max_size=60)))
    found = attempted(lambda: plans.read(path))
    if found is not None:
        assert found.graph in ("loop", "step", "unrolled")


@functools.cache
def checkpoint_bytes() -> bytes:
    model = random_model(tiny_spec("trm-mlp"))
    buffer = io.BytesIO()
    document = {"format": "trm-deploy", "schema": 1, "spec": model.spec.to_json(), "ema": dict(model.state_dict())}
    torch.save({**document, "training": {"steps": 1, "recipe": "", "seed": 0}}, buffer)
    return buffer.getvalue()


@parser(st.data())
def test_checkpoints(folder: Path, data: st.DataObject) -> None:
    whole = checkpoint_bytes()
    path = folder / "c.pt"
    path.write_bytes(data.draw(spoiled(whole) | st.binary(max_size=60)))
    found = attempted(lambda: checkpoints.load(path).model())
    if found is not None:  # what was spoiled lies between the entries: the weights are the same
        for name, value in random_model(tiny_spec("trm-mlp")).state_dict().items():
            assert torch.equal(value, found.state_dict()[name])


@parser(st.data(), share=0.5)
def test_documents_of_checkpoints(folder: Path, data: st.DataObject) -> None:
    """Sound archives of plain documents that are none of ours."""
    model = random_model(tiny_spec("trm-mlp"))
    document: dict[str, Any] = {
        "format": "trm-deploy",
        "schema": 1,
        "spec": model.spec.to_json(),
        "ema": dict(model.state_dict()),
        "training": {"steps": 1},
    }
    key = data.draw(st.sampled_from([*document, *(f"ema.{name}" for name in document["ema"])]))
    values = VALUES.map(lambda value: value if value != "\ud800" else "") | st.sampled_from(
        [torch.ones(2), torch.ones(1).expand(10**9), torch.ones(2, dtype=torch.int64), torch.ones(2).to_sparse()]
    )
    if key.startswith("ema."):
        document["ema"][key.removeprefix("ema.")] = data.draw(values)
    else:
        document[key] = data.draw(values)
    path = folder / "d.pt"
    try:
        torch.save(document, path)
    except UnicodeEncodeError:  # a half of a surrogate pair is no text to a pickle
        return
    found = attempted(lambda: checkpoints.load(path).model())
    assert found is None or isinstance(found, RecursiveReasoner)


@parser(st.text(max_size=20) | st.from_regex(r"[0-9²]{0,11}(:[0-9]{0,12}){0,3}", fullmatch=True))
def test_batch_profiles(text: str) -> None:
    found = attempted(lambda: BatchProfile.parse(text))
    assert found is None or 1 <= found.smallest <= found.tuned <= found.largest


@parser(VALUES)
def test_what_messages_and_json_show(value: Any) -> None:
    assert len(shown(value)) < 4000
    dumps(value if not _has_large(value) else None).encode()


def _has_large(value: Any) -> bool:
    return isinstance(value, int) and value.bit_length() > 10_000


def test_a_name_that_no_file_can_have_is_an_input_error(tmp_path: Path) -> None:
    name = "." * 5000  # such as a puzzle in place of its file
    with pytest.raises(InputError, match="cannot be read"):
        list(reading.read(name, Sudoku()))
    with pytest.raises(InputError, match="cannot be read"):
        arc_tasks.read_tasks([name])


def test_a_checkpoint_survives_its_file(tmp_path: Path) -> None:
    model = random_model(tiny_spec("trm-mlp"))
    checkpoints.save(tmp_path / "c.pt", Checkpoint(model.spec, dict(model.state_dict()), {"steps": 1}))
    assert checkpoints.load(tmp_path / "c.pt").training == {"steps": 1}
