"""Whatever is in an ONNX file or a plan, it is read or refused; and what a message or JSON can show."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from onnx import TensorProto, helper

from tests.conftest import tiny_spec
from tests.hostile.parsers.properties import (
    VALUES,
    attempted,
    parser,
    spoiled,
)
from trm_deploy.artefacts import onnx_file
from trm_deploy.artefacts.onnx_file import GRAPH_KEY, METADATA_KEY, STEPS_KEY
from trm_deploy.errors import shown
from trm_deploy.export.engine.options import BatchProfile
from trm_deploy.support.jsontext import dumps
from trm_deploy.trt import plan_file as plans


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
    """Graphs inside the loops of graphs, to several depths."""

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
