"""Reads what an ONNX file says of itself without the onnx package: a Jetson builds engines without it.

An ONNX file is a protobuf message (onnx.proto, `ModelProto`). Only these fields are read:

    ModelProto      1 ir_version   7 graph   8 opset_import   14 metadata_props
    GraphProto      1 node
    NodeProto       4 op_type      5 attribute
    AttributeProto  6 g (a graph, the body of a loop)

The last of the metadata is the seal: the SHA-256 of every byte before it. Protobuf's readers take it for one entry
among others, so a file is sealed by appending it. The entry before it is the size of the whole file, which tells two
kinds of files apart whose seal does not hold: what a tool wrote anew is whole and of another size, what an accident
damaged has its size still, or cannot be read.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from enum import Enum
from pathlib import Path

from trm_deploy.errors import ArtefactError, SpecError, shown
from trm_deploy.signature import GRAPHS, BakedLimits, Graph
from trm_deploy.spec import MAX_STEPS, ModelSpec
from trm_deploy.support.plain import from_plain

# Entries of an ONNX file's metadata.
METADATA_KEY = "trm_deploy.spec"
GRAPH_KEY = "trm_deploy.graph"
STEPS_KEY = "trm_deploy.steps"
PRECISION_KEY = "trm_deploy.precision"
LIMITS_KEY = "trm_deploy.limits"
RESET_KEY = "trm_deploy.reset"
SIZE_KEY = "trm_deploy.size"
SEAL_KEY = "trm_deploy.sha256"

# ONNX Runtime's operator of int8 products with a scale for each row; only files for CPUs have it.
INT8_BY_ROW = "MatMulIntegerToFloat"

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_Buffer = memoryview
# What reports say of a file whose seal is `Seal.changed`.
CHANGED = "another tool changed this file after its export, so its seal is gone"
# Fields of ModelProto in onnx.proto, those that are numbers first.
_NUMBERS, _OTHERS = {1, 5}, {2, 3, 4, 6, 7, 8, 14, 20, 25, 26}

MAX_BYTES = 1 << 31  # of a protobuf message
# The unrolled form of 16 steps has half a million; a file of nothing but fields must not be read for hours.
MAX_FIELDS = 10_000_000
MAX_DEPTH = 16  # of graphs inside graphs; ours have three
_KEY = SEAL_KEY.encode()
# Field 14 of ModelProto with an entry of two fields: the key, and a digest of 64 digits.
_SEAL = bytes((14 << 3 | _BYTES, len(_KEY) + 68, 1 << 3 | _BYTES, len(_KEY))) + _KEY + bytes((2 << 3 | _BYTES, 64))
SEAL_BYTES = len(_SEAL) + 64


class Seal(str, Enum):
    """What the seal of an ONNX file says; the value is what `inspect` prints."""

    holds = "holds"
    missing = "no seal"
    changed = "gone: another tool changed the file after its export"

    def __bool__(self) -> bool:
        """Whether there is, or was, one."""
        return self is not Seal.missing


@dataclass(frozen=True)
class Description:
    """What the metadata of an ONNX file say.

    Attributes:
        spec: what the model is.
        graph: ``loop``, ``step`` or ``unrolled``.
        steps: supervision steps of the unrolled form, else None.
        precision: as the flag names it.
        baked: limits that are constants of the graph; None where they are inputs.
        reset_column: whether the step form takes `reset` as [B, 1], as Triton gives it.
    """

    spec: ModelSpec
    graph: Graph
    steps: int | None
    precision: str
    baked: BakedLimits | None
    reset_column: bool


@dataclass(frozen=True)
class OnnxFile(Description):
    """What `trm-deploy export` wrote into an ONNX file.

    Attributes:
        opset: of the standard operators.
        ir_version: of the file.
        operators: the standard operators that it uses, those inside loops included.
        seal: ``holds`` or ``missing``; ``changed`` where another tool wrote the file anew.
    """

    opset: int
    ir_version: int
    operators: frozenset[str]
    seal: Seal = field(default=Seal.missing, compare=False)


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
    seal = check_seal(path)
    try:
        ir_version, opset, metadata, operators = _model(memoryview(path.read_bytes()))
    except ValueError as error:
        raise ArtefactError(
            f"{path}: is not an ONNX file, or is truncated ({error})",
            hint="type: trm-deploy export CHECKPOINT --format onnx",
        ) from error
    return OnnxFile(
        **vars(read_metadata(metadata, path)),
        opset=opset,
        ir_version=ir_version,
        operators=operators,
        seal=seal,
    )


def seal(path: Path) -> None:
    """Append to an ONNX file its size, and the SHA-256 of all bytes before it as the last entry of its metadata."""
    whole = path.read_bytes()
    size = len(whole)
    while size != (found := len(whole) + len(_entry(SIZE_KEY, _checked(size))) + SEAL_BYTES):
        size = found  # the number's own digits count
    whole += _entry(SIZE_KEY, _checked(size))
    path.write_bytes(whole + _SEAL + hashlib.sha256(whole).hexdigest().encode())


def _entry(key: str, value: str) -> bytes:
    """A metadata entry, field 14 of ModelProto; of short strings."""
    parts = ((1, key.encode()), (2, value.encode()))
    message = b"".join(bytes((number << 3 | _BYTES, len(part))) + part for number, part in parts)
    return bytes((14 << 3 | _BYTES, len(message))) + message


def _checked(size: int) -> str:
    """A size with the CRC-32 of its digits: damage to the number itself must not pass for another size."""
    return f"{size} {zlib.crc32(str(size).encode()):08x}"


def check_seal(path: Path) -> Seal:
    """What the seal of an ONNX file says.

    Raises:
        ArtefactError: it has one, and is neither the file that was sealed nor one that a tool wrote anew.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(size - SEAL_BYTES, 0))
        found = file.read()
        if len(found) == SEAL_BYTES and found == _SEAL + _digest(path, size - SEAL_BYTES):
            return Seal.holds
    if is_changed(path):
        return Seal.changed
    # Most of it, so that damage to the seal itself does not pass for a file that never had one.
    alike = sum(came == expected for came, expected in zip(found, _SEAL))
    if (len(found) < SEAL_BYTES or alike < len(_SEAL) * 3 // 4) and not _has_both(path):
        return Seal.missing
    raise ArtefactError(
        f"{path}: is altered: the SHA-256 of its bytes is not the one that it was sealed with",
        hint="copy it again, or type: trm-deploy export CHECKPOINT --format onnx",
    )


def _has_both(path: Path) -> bool:
    """Whether size and seal are somewhere in a file, behind which there may be more than there was."""
    whole = path.read_bytes()
    return SIZE_KEY.encode() in whole and _KEY in whole


def is_changed(path: Path) -> bool:
    """Whether another tool wrote a sealed file anew, as simplifying it or fixing its shapes does.

    It was sealed with another size, and is a whole ONNX file with nothing behind it. A file that was sealed before
    sizes were written is not one: there, damage cannot be told from purpose.
    """
    size = path.stat().st_size
    if not 0 < size < MAX_BYTES:
        return False
    view = memoryview(path.read_bytes())
    try:
        metadata = _metadata(view)
        sealed = int(metadata[SIZE_KEY].partition(" ")[0])
        if SEAL_KEY not in metadata or metadata[SIZE_KEY] != _checked(sealed) or sealed == size:
            return False
        _model(view)
    except (KeyError, ValueError):
        return False
    # Something that was only appended is an accident too.
    return _digest(path, sealed - SEAL_BYTES) != metadata[SEAL_KEY].encode()


def _digest(path: Path, size: int) -> bytes:
    """SHA-256 of the first bytes of a file, as the seal writes it."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while size > 0 and (block := file.read(min(size, 1 << 20))):
            digest.update(block)
            size -= len(block)
    return digest.hexdigest().encode()


def _metadata(view: _Buffer) -> dict[str, str]:
    """The metadata of a whole model; raises ValueError where it has a field that no ONNX model has."""
    metadata = {}
    for number, value in fields(view, [MAX_FIELDS]):
        if number not in (_NUMBERS if isinstance(value, int) else _OTHERS):
            raise ValueError(f"field {number}, which an ONNX model does not have")
        if number == 14 and not isinstance(value, int):
            entry = dict(fields(value, [MAX_FIELDS]))
            metadata[text(entry.get(1))] = text(entry.get(2))
    return metadata


def limits_text(limits: BakedLimits) -> str:
    """The entry `LIMITS_KEY` of a file whose limits are constants."""
    return json.dumps(asdict(limits))


def read_metadata(metadata: Mapping[str, str], path: Path) -> Description:
    """What an ONNX file's metadata say.

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
    return Description(
        spec,
        graph,
        int(steps) if graph == "unrolled" else None,
        metadata.get(PRECISION_KEY, "fp32"),
        _limits(metadata.get(LIMITS_KEY), graph, path),
        RESET_KEY in metadata,
    )


def _limits(entry: str | None, graph: Graph, path: Path) -> BakedLimits | None:
    if entry is None:
        return None
    try:
        if graph == "step":
            raise SpecError("limits of the step form, which has none")
        return from_plain(BakedLimits, json.loads(entry), "limits")
    except (ValueError, RecursionError, SpecError) as error:
        raise ArtefactError(f"{path}: the metadata entry {LIMITS_KEY!r} is {shown(entry)} ({error})") from error


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
        for part, value in fields(node, budget):
            if part == 4:
                yield text(value)
            elif part == 5 and not isinstance(value, int):
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
