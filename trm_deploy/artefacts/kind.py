"""What kind of file an artefact is, told by its own bytes. Nothing else looks at first bytes."""

from __future__ import annotations

import difflib
import hashlib
import json
import zipfile
from enum import Enum
from pathlib import Path
from typing import Any, NoReturn

from trm_deploy.artefacts import foreign
from trm_deploy.artefacts.foreign import LARGEST_JSON
from trm_deploy.errors import ArtefactError
from trm_deploy.support.files import sha256

EXPECTED = "expected an ONNX file, a TensorRT plan or a checkpoint"
# Bytes that are looked at.
HEAD = 512
# The command that makes a file, by the end of its name.
MADE_BY = {
    ".onnx": "type: trm-deploy export CHECKPOINT --format onnx",
    ".plan": "type: trm-deploy export CHECKPOINT --format trt",
}


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
# What safetensors allows the header of a file; bytes.
LARGEST_HEADER = 100_000_000
# The end of the name of an index of several files.
INDEX = ".index.json"
# The first bytes of a ZIP archive; a whole one is recognized by its end.
ZIP_MAGIC = b"PK\x03\x04"


def of(path: Path) -> Kind:
    """The kind of a file; a folder is a checkpoint where it has one in it.

    An ONNX file has no magic bytes, so what is none of the others passes for one until a reader of ONNX refuses it.

    Raises:
        ArtefactError: there is no such file, it is empty, text, a truncated checkpoint, or a folder without one.
    """
    if not path.exists():
        refuse_missing(path)
    known = None
    if is_checkpoint(path):
        known = foreign.recognize_archive(path) if zipfile.is_zipfile(path) else None
        if known is None:
            return Kind.checkpoint
    elif path.is_dir():
        known = foreign.recognize_folder(path)
        if known is None:
            raise ArtefactError(f"{path}: is a folder without a checkpoint, {EXPECTED}")
    if known is not None:
        raise ArtefactError(f"{path}: is {known.what}", hint=known.cure)
    if not path.stat().st_size:
        raise ArtefactError(f"{path}: is empty, {EXPECTED}")
    if _is_numpy_archive(path):
        _refuse_golden(path)
    with path.open("rb") as file:
        head = file.read(HEAD)
    if head[:4] in MAGIC:
        return MAGIC[head[:4]]
    if head[:4] == ZIP_MAGIC:
        raise ArtefactError(
            f"{path}: begins as a checkpoint and is truncated ({path.stat().st_size:,} bytes, no end record)"
        )
    known = foreign.recognize(path)
    if known is not None:
        raise ArtefactError(f"{path}: is {known.what}", hint=known.cure)
    if _is_text(head):
        _refuse_text(path)
    return Kind.onnx


def is_checkpoint(path: Path) -> bool:
    """Whether a file is a checkpoint by its form, a ZIP archive or safetensors; or a folder has one in it."""
    if path.is_dir():
        return any(file.is_file() and is_checkpoint(file) for file in path.iterdir())
    if is_safetensors(path) or pieces(path):
        return True
    # A piece of a checkpoint of torch.distributed ends with an archive.
    return path.suffix != ".distcp" and zipfile.is_zipfile(path) and not _is_numpy_archive(path)


def pieces(path: Path) -> dict[str, Any]:
    """The index of a checkpoint in several files, as hubs have it: the file of each tensor; empty where it is none."""
    if not path.name.endswith(INDEX) or not path.is_file() or path.stat().st_size > LARGEST_JSON:
        return {}
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    found = document.get("weight_map") if isinstance(document, dict) else None
    return found if isinstance(found, dict) else {}


def digest(checkpoint: Path) -> str:
    """The SHA-256 of a checkpoint's file; of one in several files that of the digests of its index and of them all."""
    files = sorted({name for name in pieces(checkpoint).values() if isinstance(name, str)})
    if not files:
        return sha256(checkpoint)
    together = "".join(sha256(file) for file in (checkpoint, *(checkpoint.parent / name for name in files)))
    return hashlib.sha256(together.encode()).hexdigest()


def is_safetensors(path: Path) -> bool:
    """Whether a file begins as safetensors do, with the length of a JSON object and its first bytes."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(9)
    return len(head) == 9 and int.from_bytes(head[:8], "little") <= LARGEST_HEADER and head[8:] == b"{"


def safetensors_header(path: Path) -> bytes:
    """The JSON in front of a file's tensors; empty where it is not safetensors."""
    if not is_safetensors(path):
        return b""
    with path.open("rb") as file:
        return file.read(int.from_bytes(file.read(8), "little"))


def _is_numpy_archive(path: Path) -> bool:
    """Whether a file is a ZIP archive of arrays, as golden vectors are; a checkpoint has no `.npy` in it."""
    names = foreign.archive_names(path) or []
    return bool(names) and all(name.endswith(".npy") for name in names)


def _refuse_golden(path: Path) -> NoReturn:
    described = path.with_name(path.name.removesuffix(".golden.npz"))
    hint = "name the file that it describes"
    if described != path and described.is_file():
        hint += f": {described}"
    raise ArtefactError(f"{path}: is a NumPy archive, as golden vectors are, {EXPECTED}", hint=hint)


def _is_text(head: bytes) -> bool:
    """Whether bytes are characters and white space only; a character cut off at their end counts."""
    text = head.decode("utf-8", errors="ignore" if len(head) == HEAD else "replace")
    return all(character.isprintable() or character.isspace() for character in text) and "\ufffd" not in text


def refuse_missing(path: Path) -> NoReturn:
    """There is no such file: raises with the nearest name in its folder, else with what to type instead."""
    near: list[str] = []
    if path.parent.is_dir():
        near = difflib.get_close_matches(path.name, [entry.name for entry in path.parent.iterdir()], n=1, cutoff=0.8)
    from trm_deploy.artefacts.shipped import hint_for  # which `trm-deploy --help` need not import

    hint = f"did you mean {path.with_name(near[0])}?" if near else MADE_BY.get(path.suffix) or hint_for(path)
    raise ArtefactError(f"{path}: there is no such file", hint=hint)


def _refuse_text(path: Path) -> NoReturn:
    """A text file; those that lie beside an artefact are called by their name."""
    what, suffix = "text", ""
    if path.stat().st_size <= LARGEST_JSON:
        try:
            document = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError, RecursionError):
            pass
        else:
            what = "JSON"
            if isinstance(document, dict) and {"artefact_sha256", "precision_source"} <= document.keys():
                what, suffix = "a build record", ".json"
            elif isinstance(document, list) and document and all(isinstance(name, str) for name in document):
                what, suffix = "a list of puzzle identifiers", ".identifiers.json"
    hint = None
    if suffix:
        hint = "name the file that it describes"
        described = path.with_name(path.name.removesuffix(suffix))
        if described != path and described.is_file():
            hint += f": {described}"
    raise ArtefactError(f"{path}: is {what}, {EXPECTED}", hint=hint)
