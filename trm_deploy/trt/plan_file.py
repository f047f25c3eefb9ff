"""What can be read from a TensorRT plan without TensorRT: its flavour, its version, the model spec in its name."""

from __future__ import annotations

import json
import mmap
import re
from dataclasses import dataclass
from pathlib import Path

from trm_deploy.artefacts import kind
from trm_deploy.errors import ArtefactError, SpecError
from trm_deploy.signature import MAX_STEPS, Y_NEXT, Graph
from trm_deploy.spec import ModelSpec
from trm_deploy.trt import flavours
from trm_deploy.trt.flavours import Flavour

# The spec begins so, see `ModelSpec.to_json`.
SPEC_START = b'{"schema":'
# A plan holds one; other text that begins so is passed over, but not without end.
MAX_STARTS = 64
# Where a plan of TensorRT holds its version: major, minor, patch, build, one byte each.
VERSION_BYTES = slice(24, 28)


@dataclass(frozen=True)
class Plan:
    """A plan's own statements.

    Attributes:
        flavour: the package that built it.
        version: of that package, such as "10.3.0.30"; empty where the header holds none that makes sense.
        spec: what the model is.
        tensors: those of `MAX_STEPS` and `Y_NEXT` that are among its tensors' names.
    """

    flavour: Flavour
    version: str
    spec: ModelSpec
    tensors: frozenset[str]

    @property
    def graph(self) -> Graph:
        """The graph form, by the tensors that only it has."""
        if Y_NEXT in self.tensors:
            return "step"
        return "loop" if MAX_STEPS in self.tensors else "unrolled"


def read(path: Path) -> Plan:
    """Read a plan.

    Raises:
        ArtefactError: not a plan, or one without a model spec.
    """
    found = kind.of(path)
    flavour = flavours.of_kind(found)
    if flavour is None:
        raise ArtefactError(f"{path}: is not a TensorRT plan but of the kind {found.value}")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        spec, start, end = _spec(data, path)
        # The spec has a "max_steps" of its own, and an unrolled graph a y_next_1: whole names, outside the spec.
        tensors = frozenset(
            name
            for name in (MAX_STEPS, Y_NEXT)
            if any(_whole(name).search(data, *part) for part in ((0, start), (end, len(data))))
        )
        return Plan(flavour, _version(data[: VERSION_BYTES.stop]), spec, tensors)


def _whole(name: str) -> re.Pattern[bytes]:
    return re.compile(rb"(?<!\w)" + name.encode() + rb"(?!\w)")


def _version(data: bytes) -> str:
    major, *rest = data[VERSION_BYTES] if len(data) >= VERSION_BYTES.stop else (0,)
    # 10 and 11 are TensorRT's, 1 is TensorRT for RTX's; anything else is another layout of the header.
    return ".".join(map(str, (major, *rest))) if major in (1, 10, 11) else ""


def _spec(data: mmap.mmap, path: Path) -> tuple[ModelSpec, int, int]:
    """The spec and where its text begins and ends."""
    start = data.find(SPEC_START)
    for _ in range(MAX_STARTS):
        if start < 0:
            break
        try:
            text = data[start : start + 8192].decode("utf-8", errors="ignore")
            _, end = json.JSONDecoder().raw_decode(text)
            return ModelSpec.from_json(text[:end], source=str(path)), start, start + len(text[:end].encode())
        except (ValueError, RecursionError, SpecError):
            start = data.find(SPEC_START, start + 1)
    raise ArtefactError(
        f"{path}: is a TensorRT plan without a model spec in its name, so not one that trm-deploy made, or truncated",
        hint="type: trm-deploy export CHECKPOINT --format trt",
    )
