"""What kind of file an artefact is, told by its own bytes. Nothing else looks at first bytes."""

from __future__ import annotations

import zipfile
from enum import Enum
from pathlib import Path

from trm_deploy.errors import ArtefactError

EXPECTED = "expected an ONNX file, a TensorRT plan or a checkpoint"
# Bytes that are looked at.
HEAD = 512


class Kind(str, Enum):
    """The kinds; the value is what messages and `inspect` call one."""

    checkpoint = "checkpoint"
    onnx = "ONNX"
    trt = "TensorRT plan"
    rtx = "TensorRT for RTX plan"

    @property
    def is_plan(self) -> bool:
        """Whether TensorRT, of either package, runs it."""
        return self in MAGIC.values()


# The first bytes of a plan.
MAGIC = {b"ftrt": Kind.trt, b"vtrt": Kind.rtx}


def of(path: Path) -> Kind:
    """The kind of a file; a folder is a checkpoint where it has one in it.

    An ONNX file has no magic bytes, so what is none of the others passes for one until a reader of ONNX refuses it.

    Raises:
        ArtefactError: there is no such file, it is empty, text, or a folder without a checkpoint.
    """
    if not path.exists():
        raise ArtefactError(f"{path}: there is no such file", hint="type: trm-deploy export CHECKPOINT --format onnx")
    if is_checkpoint(path):
        return Kind.checkpoint
    if path.is_dir():
        raise ArtefactError(f"{path}: is a folder without a checkpoint, {EXPECTED}")
    if not path.stat().st_size:
        raise ArtefactError(f"{path}: is empty, {EXPECTED}")
    with path.open("rb") as file:
        head = file.read(HEAD)
    if head[:4] in MAGIC:
        return MAGIC[head[:4]]
    if _is_text(head):
        raise ArtefactError(
            f"{path}: is no ONNX model, plan or checkpoint but text, {EXPECTED}",
            hint="type: trm-deploy export CHECKPOINT --format onnx",
        )
    return Kind.onnx


def is_checkpoint(path: Path) -> bool:
    """Whether a file is a checkpoint by its form, a ZIP archive; or a folder has one in it."""
    if path.is_dir():
        return any(file.is_file() and zipfile.is_zipfile(file) for file in path.iterdir())
    return zipfile.is_zipfile(path)


def _is_text(head: bytes) -> bool:
    """Whether bytes are characters and white space only; a character cut off at their end counts."""
    text = head.decode("utf-8", errors="ignore" if len(head) == HEAD else "replace")
    return all(character.isprintable() or character.isspace() for character in text) and "\ufffd" not in text
