"""Reads what an ONNX file says of itself without the onnx package: a Jetson builds engines without it.

An ONNX file is a protobuf message (onnx.proto, `ModelProto`). Only these fields are read:

    ModelProto      1 ir_version   7 graph   8 opset_import   14 metadata_props
    GraphProto      1 node
    NodeProto       4 op_type      5 attribute
    AttributeProto  6 g (a graph, the body of a loop)

The last of the metadata is the seal: the SHA-256 of every byte before it. Protobuf's readers take it for one entry
among others, so a file is sealed by appending it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from trm_deploy.errors import ArtefactError, SpecError, shown
from trm_deploy.signature import GRAPHS, Graph
from trm_deploy.spec import MAX_STEPS, ModelSpec

# Entries of an ONNX file's metadata.
METADATA_KEY = "trm_deploy.spec"
GRAPH_KEY = "trm_deploy.graph"
STEPS_KEY = "trm_deploy.steps"
PRECISION_KEY = "trm_deploy.precision"
SEAL_KEY = "trm_deploy.sha256"

# ONNX Runtime's operator of int8 products with a scale for each row; only files for CPUs have it.
INT8_BY_ROW = "MatMulIntegerToFloat"

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_Buffer = memoryview

MAX_BYTES = 1 << 31  # of a protobuf message
# The unrolled form of 16 steps has half a million; a file of nothing but fields must not be read for hours.
MAX_FIELDS = 10_000_000
MAX_DEPTH = 16  # of graphs inside graphs; ours have three
_KEY = SEAL_KEY.encode()
# Field 14 of ModelProto with an entry of two fields: the key, and a digest of 64 digits.
_SEAL = bytes((14 << 3 | _BYTES, len(_KEY) + 68, 1 << 3 | _BYTES, len(_KEY))) + _KEY + bytes((2 << 3 | _BYTES, 64))
SEAL_BYTES = len(_SEAL) + 64


@dataclass(frozen=True)
class OnnxFile:
    """What `trm-deploy export` wrote into an ONNX file.

    Attributes:
        spec: what the model is.
        graph: ``loop``, ``step`` or ``unrolled``.
        steps: supervision steps of the unrolled form, else None.
        precision: as the flag names it.
        opset: of the standard operators.
        ir_version: of the file.
        operators: the standard operators that it uses, those inside loops included.
    """

    spec: ModelSpec
    graph: Graph
    steps: int | None
    precision: str
    opset: int
    ir_version: int
    operators: frozenset[str]


def read(path: Path) -> OnnxFile:
    """Read a file that `trm-deploy export` made.

    Raises:
        ArtefactError: missing, not an ONNX file, truncated, or not ours.
    """
    if not path.is_file():
        what = "is a folder, expected an ONNX file" if path.is_dir() else "there is no such file"
        raise ArtefactError(f"{path}: {what}", hint="type: trm-deploy export CHECKPOINT --format onnx")
    size = path.stat().st_size
    if not size:
        raise ArtefactError(f"{path}: is empty, expected an ONNX file")
    if size >= MAX_BYTES:
        raise ArtefactError(f"{path}: has {size:,} bytes, expected an ONNX file of less than {MAX_BYTES:,}")
    check_seal(path)
    try:
        ir_version, opset, metadata, operators = _model(memoryview(path.read_bytes()))
    except ValueError as error:
        raise ArtefactError(
            f"{path}: is not an ONNX file, or is truncated ({error})",
            hint="type: trm-deploy export CHECKPOINT --format onnx",
        ) from error
    return OnnxFile(
        *read_metadata(metadata, path),
        opset=opset,
        ir_version=ir_version,
        operators=operators,
    )


def seal(path: Path) -> None:
    """Append to an ONNX file the SHA-256 of its bytes, as the last entry of its metadata."""
    with path.open("rb") as file:
        digest = hashlib.sha256(file.read())
    with path.open("ab") as file:
        file.write(_SEAL + digest.hexdigest().encode())


def check_seal(path: Path) -> bool:
    """Whether an ONNX file has a seal.

    Raises:
        ArtefactError: it has one, and is not the file that was sealed.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(size - SEAL_BYTES, 0))
        found = file.read()
        # Most of it, so that damage to the seal itself does not pass for a file that never had one.
        alike = sum(came == expected for came, expected in zip(found, _SEAL))
        if len(found) < SEAL_BYTES or alike < len(_SEAL) * 3 // 4:
            return False
        file.seek(0)
        digest = hashlib.sha256()
        left = size - SEAL_BYTES
        while left and (block := file.read(min(left, 1 << 20))):
            digest.update(block)
            left -= len(block)
    if found != _SEAL + digest.hexdigest().encode():
        raise ArtefactError(
            f"{path}: is altered: the SHA-256 of its bytes is not the one that it was sealed with",
            hint="copy it again, or type: trm-deploy export CHECKPOINT --format onnx",
        )
    return True


def read_metadata(metadata: dict[str, str], path: Path) -> tuple[ModelSpec, Graph, int | None, str]:
    """Spec, graph form, steps of the unrolled form and precision from an ONNX file's metadata.

    Raises:
        ArtefactError: an entry is missing or malformed.
    """
    if METADATA_KEY not in metadata:
        raise ArtefactError(
            f"{path}: is an ONNX file without the metadata entry {METADATA_KEY!r}, so not one that trm-deploy made",
            hint="type: trm-deploy export CHECKPOINT --format onnx",
        )
    try:
        spec = ModelSpec.from_json(metadata[METADATA_KEY], source=str(path))
    except SpecError as error:
        raise ArtefactError(str(error)) from error
    told = metadata.get(GRAPH_KEY, "")
    graph = next((known for known in GRAPHS if known == told), None)
    if graph is None:
        raise ArtefactError(
            f"{path}: the metadata entry {GRAPH_KEY!r} is {shown(told)}, expected one of {', '.join(GRAPHS)}"
        )
    steps = metadata.get(STEPS_KEY, "")
    if graph == "unrolled" and not (
        steps.isascii() and steps.isdigit() and len(steps) <= 9 and 0 < int(steps) <= MAX_STEPS
    ):
        raise ArtefactError(
            f"{path}: the metadata entry {STEPS_KEY!r} is {shown(steps)}, expected a number of steps up to {MAX_STEPS}"
        )
    return spec, graph, int(steps) if graph == "unrolled" else None, metadata.get(PRECISION_KEY, "fp32")


def _model(view: _Buffer) -> tuple[int, int, dict[str, str], frozenset[str]]:
    ir_version = opset = 0
    metadata: dict[str, str] = {}
    operators: set[str] = set()
    budget = [MAX_FIELDS]
    for number, value in fields(view, budget):
        if number == 1 and isinstance(value, int):
            ir_version = value
        elif number == 7 and not isinstance(value, int):
            operators |= set(_operators(value, budget))
        elif number == 8 and not isinstance(value, int):
            entry = dict(fields(value, budget))
            if not text(entry.get(1)):
                version = entry.get(2, 0)
                opset = version if isinstance(version, int) else 0
        elif number == 14 and not isinstance(value, int):
            entry = dict(fields(value, budget))
            metadata[text(entry.get(1))] = text(entry.get(2))
    if not ir_version or not opset:
        raise ValueError("no IR version or opset in it")
    return ir_version, opset, metadata, frozenset(operators)


def _operators(graph: _Buffer, budget: list[int], depth: int = 0) -> Iterator[str]:
    if depth > MAX_DEPTH:
        raise ValueError(f"graphs inside graphs, {depth} deep")
    for number, node in fields(graph, budget):
        if number != 1 or isinstance(node, int):
            continue
        for field, value in fields(node, budget):
            if field == 4:
                yield text(value)
            elif field == 5 and not isinstance(value, int):
                for kind, body in fields(value, budget):
                    if kind == 6 and not isinstance(body, int):
                        yield from _operators(body, budget, depth + 1)


def text(value: int | _Buffer | None) -> str:
    """A string field; "" where it is absent."""
    return "" if value is None or isinstance(value, int) else bytes(value).decode("utf-8")


def fields(view: _Buffer, budget: list[int]) -> Iterator[tuple[int, int | _Buffer]]:
    """Field numbers with their values: integers, or the bytes of strings and inner messages.

    The budget, a list of one number, is what is left of the fields that a file may have in all.
    """
    place = 0
    while place < len(view):
        budget[0] -= 1
        if budget[0] < 0:
            raise ValueError(f"more than {MAX_FIELDS:,} fields")
        key, place = varint(view, place)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, place = varint(view, place)
            yield number, value
            continue
        if kind == _BYTES:
            size, place = varint(view, place)
        elif kind in (_FIXED32, _FIXED64):
            size = 4 if kind == _FIXED32 else 8
        else:
            raise ValueError(f"wire type {kind} at byte {place}")
        if number == 0 or place + size > len(view):
            raise ValueError(f"a field reaches beyond the end at byte {place}")
        yield number, view[place : place + size]
        place += size


def varint(view: _Buffer, place: int) -> tuple[int, int]:
    """The number that begins at a byte, and the byte behind it."""
    value = shift = 0
    while True:
        if place >= len(view) or shift > 63:
            raise ValueError(f"a number ends nowhere at byte {place}")
        byte = view[place]
        value |= (byte & 0x7F) << shift
        place += 1
        if byte < 0x80:
            return value, place
        shift += 7
