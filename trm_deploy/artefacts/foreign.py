"""Files that are none of ours, called what they are, with what to do: of failed downloads, of other tools.

A further one is a row of `MAGIC`, `TEXTS`, `MEMBERS` or `FOLDERS`.
"""

from __future__ import annotations

import codecs
import json
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path

from trm_deploy.errors import shown

# Bytes that are looked at.
HEAD = 4096
# A JSON file up to this size is read to say what it is.
LARGEST_JSON = 64 << 20


@dataclass(frozen=True)
class Foreign:
    """A file that cannot be read here.

    Attributes:
        what: as in "FILE: is WHAT".
        cure: what to do.
    """

    what: str
    cure: str


ERROR = "the error message of a download"
AGAIN = "download it again, from a hub by its link 'download' (.../resolve/... where the page has .../blob/...)"
OURS = "make one here from the checkpoint: trm-deploy export CHECKPOINT"
UNPACK = "unpack it, and name the checkpoint in it"
STATE_DICT = "save its weights anew where you trust it: torch.save(model.state_dict(), 'step_0')"

JOIN = (
    'join them, in {path}: python -c "from glob import glob; from safetensors.torch import load_file, save_file;'
    " save_file({{k: v for f in glob('*-of-*.safetensors') for k, v in load_file(f).items()}}, 'whole.safetensors')\""
)
# Place of the first byte, the bytes, what it is, what to do. `torch.save` began to write ZIP archives with PyTorch 1.6.
MAGIC: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.", "LEGACY", ""),
    (0, b"GGUF", "a GGUF file, as llama.cpp reads", STATE_DICT),
    (4, b"TFL3", "a TensorFlow Lite model", OURS),
    (4, b"ORTM", "a model in ONNX Runtime's own format (.ort)", OURS),
    (4, b"ET1", "an ExecuTorch program", OURS),
    (0, b"RKNN", "a model for Rockchip's NPUs (RKNN)", OURS),
    (0, b"\x01HEF", "a model for Hailo's accelerators", OURS),
    (0, b"\x7fELF", "a compiled library", OURS),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras writes", STATE_DICT),
    (0, b"\x93NUMPY", "a NumPy array", "name a checkpoint, an ONNX file or a plan"),
    (0, b"\x1f\x8b", "an archive (gzip)", UNPACK),
    (0, b"\xfd7zXZ\x00", "an archive (xz)", UNPACK),
    (0, b"\x28\xb5\x2f\xfd", "an archive (Zstandard)", UNPACK),
    (0, b"BZh", "an archive (bzip2)", UNPACK),
    (0, b"7z\xbc\xaf\x27\x1c", "an archive (7-Zip)", UNPACK),
    (0, b"Rar!", "an archive (RAR)", UNPACK),
    (257, b"ustar", "an archive (tar)", UNPACK),
)
PICKLE = re.compile(rb"\x80[\x02-\x05]")
# Ultralytics puts the length of a JSON text and the text in front of a plan.
PREFIXED_PLAN = re.compile(rb"(?s)..\x00\x00\{.*")
PLANS = (b"ftrt", b"vtrt")

LFS = re.compile(r"version https?://(?:git-lfs|hawser)\.github\.com/spec/v\d|version http://git-media\.io/")
LFS_SIZE = re.compile(r"^size (\d{1,18})$", re.MULTILINE)
# Pattern in the text's beginning, what it is, what to do; {name} is the file's.
TEXTS: tuple[tuple[re.Pattern[str], str, str], ...] = (
    (re.compile(r"/annex/objects/"), "a git-annex pointer", "type in its clone: git annex get {name}"),
    (re.compile(r"(?s)outs:\s.*md5:"), "a DVC pointer", "type in its clone: dvc pull {name}"),
    (re.compile(r"(?is)<.{0,500}?<html|<(?:!doctype html|html|head)\b"), "an HTML page in place of the file", AGAIN),
    (re.compile(r"(?s)<(?:\?xml.{0,200}?<)?Error>"), ERROR, AGAIN),
    (
        re.compile(r"(?s)<(?:\?xml.{0,200}?<)?net\s"),
        "an OpenVINO model (IR)",
        "OpenVINO runs the ONNX file: trm-deploy run --engine FILE.onnx --runtime openvino",
    ),
    (re.compile(r"HTTP/\d"), "the answer of a web server", AGAIN),
    (re.compile(r"7767517\s"), "an ncnn model", OURS),
    (
        re.compile(
            r"(?i).{0,200}\b(?:not found|denied|forbidden|unauthori[sz]ed|gated|restricted|rate limit"
            r"|invalid (?:username|credentials|token))\b.{0,200}\s*\Z"
        ),
        ERROR,
        AGAIN,
    ),
)
# A file in a ZIP archive by the end of its name, what that makes the archive, what to do.
MEMBERS: tuple[tuple[re.Pattern[str], str, str], ...] = (
    (
        re.compile(r"[^/]+/constants\.pkl"),
        "a TorchScript archive, which holds code",
        "save its weights: torch.save(torch.jit.load(FILE).state_dict(), 'step_0')",
    ),
    (
        re.compile(r"(?:[^/]+/)?(?:archive_format|archive_version|serialized_exported_program\.json)"),
        "a program of torch.export (.pt2)",
        "save its weights: torch.save(dict(torch.export.load(FILE).state_dict), 'step_0')",
    ),
    (re.compile(r"(?:.*/)?model\.weights\.h5"), "a Keras model", STATE_DICT),
    (re.compile(r"(?:.*\.mlpackage/)?Manifest\.json"), "a Core ML package", OURS),
)
# Ends of the names of files that lie beside a checkpoint.
COMPANIONS = {".json", ".yaml", ".yml", ".md", ".txt", ".py", ".npy", ".csv"}
# A pattern of a file in a folder, what that makes the folder, what to do; {path} is the folder's.
FOLDERS: tuple[tuple[str, str, str], ...] = (
    (
        "*.distcp",
        "a checkpoint of torch.distributed, in pieces",
        "type: python -m torch.distributed.checkpoint.format_utils dcp_to_torch {path} step_0",
    ),
    (
        "zero_to_fp32.py",
        "a checkpoint of DeepSpeed, in pieces",
        "type: python {path}/zero_to_fp32.py {path} {path}/whole, and name the file that it makes",
    ),
    ("saved_model.pb", "a TensorFlow model", OURS),
    ("*.engine", "the engine of another tool", OURS),
    ("Manifest.json", "a Core ML package", OURS),
)


def recognize(path: Path) -> Foreign | None:
    """What a file is by its first bytes; None where that is not known here, or a ZIP archive."""
    with path.open("rb") as file:
        head = file.read(HEAD)
    for place, magic, what, cure in MAGIC:
        if head[place : place + len(magic)] == magic:
            return _legacy(path) if what == "LEGACY" else Foreign(what, cure)
    if PICKLE.match(head):
        return Foreign("not a checkpoint but a plain pickle, which could run anything and is never read", STATE_DICT)
    if PREFIXED_PLAN.match(head):
        start = 4 + int.from_bytes(head[:4], "little")
        with path.open("rb") as file:
            file.seek(start)
            if file.read(4) in PLANS:
                return Foreign(f"a TensorRT plan behind {start:,} bytes of another tool's", OURS)
    return _recognize_text(path, head)


def _legacy(path: Path) -> Foreign:
    new = path.with_name(f"{path.stem}.new{path.suffix}")
    load = f"torch.load({str(path)!r}, weights_only=True)"
    return Foreign(
        "a file of torch.save in its old format (before PyTorch 1.6, or without its ZIP format)",
        f'write it anew: python -c "import torch; torch.save({load}, {str(new)!r})"',
    )


def _recognize_text(path: Path, head: bytes) -> Foreign | None:
    marked = head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    if b"\0" in head and not marked:
        return None
    text = head.decode("utf-16" if marked else "utf-8", errors="ignore").lstrip("\ufeff \t\r\n")
    if LFS.match(text):
        size = LFS_SIZE.search(text)
        whole = f" to a file of {int(size[1]):,} bytes" if size else ""
        return Foreign(
            f"a git-lfs pointer{whole}, not the file itself",
            f"type in its clone: git lfs pull --include {path.name}, or download the file itself",
        )
    for pattern, what, cure in TEXTS:
        if pattern.match(text):
            said = f" ({shown(text.splitlines()[0])})" if what == ERROR else ""
            return Foreign(what + said, cure.format(name=path.name.removesuffix(".dvc")))
    return _recognize_json(path) if text[:1] == "{" else None


def _recognize_json(path: Path) -> Foreign | None:
    if path.stat().st_size > LARGEST_JSON:
        return None
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(document, dict):
        return None
    if isinstance(document.get("error"), str):
        return Foreign(f"{ERROR} ({shown(document['error'])})", AGAIN)
    if isinstance(document.get("weight_map"), dict):
        return Foreign("the index of a checkpoint in several files", JOIN.format(path=path.parent))
    return None


def archive_names(path: Path) -> list[str] | None:
    """What is in a ZIP archive; None where it is none, or damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except (OSError, zipfile.BadZipFile, ValueError, RuntimeError):  # the last of a version that it does not know
        return None


def recognize_archive(path: Path) -> Foreign | None:
    """What a ZIP archive is by what is in it; None for one of `torch.save`, or a damaged one."""
    names = archive_names(path)
    if names is None:
        return None
    for pattern, what, cure in MEMBERS:
        if any(pattern.fullmatch(name) for name in names):
            return Foreign(what, cure)
    if any(re.fullmatch(r"[^/]+/data\.pkl", name) for name in names):
        return None
    first = f", such as {shown(names[0])}" if names else ""
    return Foreign(f"a ZIP archive of {len(names)} files{first}, not one of torch.save", UNPACK)


def recognize_folder(path: Path) -> Foreign | None:
    """What a folder without a checkpoint is; None where that is not known."""
    for pattern, what, cure in FOLDERS:
        if next(path.glob(pattern), None) is not None:
            return Foreign(what, cure.format(path=path))
    for file in sorted(path.iterdir()):
        if file.is_file() and file.suffix not in COMPANIONS and (found := recognize(file)) is not None:
            return Foreign(f"a folder without a checkpoint: its {file.name} is {found.what}", found.cure)
    return None
