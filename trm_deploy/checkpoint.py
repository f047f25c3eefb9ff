"""Reads and writes checkpoints: one file, a dict of plain types and tensors.

Ours, read and written here; those of the published code are read by `trm_deploy.published`.

    format    "trm-deploy"
    schema    1
    spec      JSON text of the `ModelSpec`
    ema       state dict of the averaged weights: the model that is exported
    training  what made it: steps, recipe (TOML text), seed

Read with `weights_only=True` and nothing else: a pickle may carry code, and this never runs it.
"""

from __future__ import annotations

import pickle
import re
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trm_deploy.errors import CheckpointError, InputError, SpecError, shown
from trm_deploy.files import atomic_path
from trm_deploy.models.recursive import RecursiveReasoner
from trm_deploy.record import sha256
from trm_deploy.spec import ModelSpec

FORMAT = "trm-deploy"
SCHEMA = 1
MAX_VALUES = 1_000_000  # in all dictionaries and lists of a file


@dataclass(frozen=True)
class Checkpoint:
    """A model and what made it.

    Attributes:
        spec: what the model is.
        ema: state dict of the averaged weights, float32 on the CPU.
        training: plain values: steps, recipe, seed.
        sha256: of the file it was read from; empty for one that was not.
        source: what to call it in messages.
        settings: of a published checkpoint: each setting with its value and where it comes from.
    """

    spec: ModelSpec
    ema: dict[str, Tensor]
    training: dict[str, Any] = field(default_factory=dict)
    sha256: str = ""
    source: str = "checkpoint"
    settings: tuple[str, ...] = ()

    def model(self) -> RecursiveReasoner:
        """The model with these weights, in evaluation mode on the CPU.

        A puzzle table that stays outside the graph is shared with this checkpoint, not copied.

        Raises:
            CheckpointError: a weight is missing, left over or of another shape than the spec says.
        """
        check_weights(self.spec, self.ema, self.source)
        weights = dict(self.ema)
        model = RecursiveReasoner(self.spec, table=weights.pop("puzzles") if self.spec.puzzle_table_outside else None)
        model.load_state_dict(weights)
        return model.eval().requires_grad_(False)


def check_weights(
    spec: ModelSpec, weights: Mapping[str, Tensor], source: str, called: Callable[[str], str] = str
) -> None:
    """Compare weights with the shapes that a spec expects.

    Args:
        spec: of the model.
        weights: state dict.
        source: what to call it in messages.
        called: gives a weight's name in the file, where it is not ours.

    Raises:
        CheckpointError: a weight is missing, left over or of another shape than the spec says.
    """
    with torch.device("meta"):
        expected = RecursiveReasoner(spec).state_dict()
    for name in sorted(expected.keys() | weights.keys()):
        title = called(name)
        if name not in weights:
            raise CheckpointError(
                f"{source}: the weight {title} is missing, its spec expects {list(expected[name].shape)}"
            )
        if name not in expected:
            raise CheckpointError(f"{source}: the weight {title} {list(weights[name].shape)} has no place in its spec")
        if not weights[name].is_floating_point():
            raise CheckpointError(f"{source}: the weight {title} is {weights[name].dtype}, expected floating point")
        if weights[name].shape != expected[name].shape:
            raise CheckpointError(
                f"{source}: the weight {title} has the shape {list(weights[name].shape)},"
                f" its spec expects {list(expected[name].shape)}"
            )


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint atomically."""
    document = {
        "format": FORMAT,
        "schema": SCHEMA,
        "spec": checkpoint.spec.to_json(),
        "ema": checkpoint.ema,
        "training": checkpoint.training,
    }
    with atomic_path(path) as temporary:
        torch.save(document, temporary)


def check_ours(path: Path) -> None:
    """Raises `CheckpointError` where it is no checkpoint of ours: one of the published code holds no spec to change."""
    document = read_pickle(locate(path), mapped=True)
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise CheckpointError(
            f"{path}: is a checkpoint of the published code, which holds no spec to change",
            hint="export it, and change the build record beside the engine",
        )


def rewrite_spec(path: Path, change: Callable[[ModelSpec], ModelSpec]) -> None:
    """Change the spec of a checkpoint of ours in place, atomically; all else stays as it is.

    Raises:
        CheckpointError: see `load` and `check_ours`.
    """
    path = locate(path)
    check_ours(path)
    spec = load(path).spec
    document = read_pickle(path)
    document["spec"] = change(spec).to_json()
    with atomic_path(path) as temporary:
        torch.save(document, temporary)


def read_pickle(path: Path, *, mapped: bool = False) -> Any:
    """What `torch.save` wrote, restricted to tensors and plain types.

    Args:
        path: the file.
        mapped: leave the tensors in the file, mapped into memory, instead of reading them.

    Raises:
        CheckpointError: missing, a folder, truncated, not from `torch.save`, or a pickle that asks for code.
    """
    if not path.exists():
        raise CheckpointError(f"{path}: there is no such file")
    if path.is_dir():
        raise CheckpointError(f"{path}: is a folder, expected a checkpoint file")
    if not zipfile.is_zipfile(path):
        raise CheckpointError(
            f"{path}: is no checkpoint, or a truncated one ({path.stat().st_size:,} bytes, no end record),"
            " expected a file that torch.save wrote"
        )
    _check_archive(path)
    try:
        # Mapped, a tensor that claims more than the file has is refused; read, it would reach beyond the memory.
        document = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        if "weights_only" in str(error):
            raise CheckpointError(
                f"{path}: refused: the pickle asks for code or types beyond tensors, which could run anything",
                hint="ask for a file with a plain state dict",
            ) from error
        raise CheckpointError(f"{path}: is no checkpoint (its pickle is damaged)") from error
    except Exception as error:  # torch.load raises nearly anything on damaged bytes
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise CheckpointError(f"{path}: is a damaged checkpoint ({reason[0]})") from error
    _check_claims(document, path)
    return document if mapped else _copied(document)


def _check_archive(path: Path) -> None:
    """Compare each entry with its CRC-32, which PyTorch does not; refuse what unpacks to more than the file."""
    size = path.stat().st_size
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if any(entry.compress_type != zipfile.ZIP_STORED or entry.file_size > size for entry in entries):
                raise CheckpointError(
                    f"{path}: is an archive with packed entries, expected a file that torch.save wrote"
                )
            claimed = sum(entry.file_size for entry in entries)
            if claimed > size:
                raise CheckpointError(f"{path}: its entries claim {claimed:,} bytes, the file has {size:,}")
            damaged = archive.testzip()
    # zipfile raises nearly anything on damaged bytes
    except (
        OSError,
        ValueError,
        zipfile.BadZipFile,
        RuntimeError,
        EOFError,
        struct.error,
    ) as error:
        raise CheckpointError(f"{path}: is a damaged checkpoint, or a truncated one ({error})") from error
    if damaged is not None:
        raise CheckpointError(
            f"{path}: is a damaged checkpoint: its entry {damaged} does not have the CRC-32 that was written with it",
            hint="copy it again",
        )


def _check_claims(document: Any, path: Path) -> None:
    """Refuse tensors that claim more than the file holds: one number can be repeated to a billion at no cost."""
    size = path.stat().st_size
    claimed = 0
    for tensor in _tensors(document, path):
        plain = type(tensor) in (Tensor, torch.nn.Parameter) and tensor.layout == torch.strided
        if not plain or tensor.device.type != "cpu" or tensor.is_quantized:
            raise CheckpointError(f"{path}: has a tensor of another kind than plain numbers ({type(tensor).__name__})")
        claimed += tensor.numel() * tensor.element_size()
        # Twice: weights may be tied.
        if claimed > 2 * size:
            raise CheckpointError(
                f"{path}: its tensors claim {claimed:,} bytes (one is {list(tensor.shape)}), the file has {size:,}"
            )


def _tensors(document: Any, path: Path) -> Iterator[Tensor]:
    """The tensors in a document of dictionaries, lists and tuples."""
    waiting, seen = [document], 0
    while waiting:
        value = waiting.pop()
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (dict, list, tuple)):
            waiting.extend(value.values() if isinstance(value, dict) else value)
            seen += len(value)
            if seen > MAX_VALUES:
                raise CheckpointError(f"{path}: holds more than {MAX_VALUES:,} values")


def _copied(value: Any) -> Any:
    """The document with its tensors in memory, no longer mapped from a file that may be replaced."""
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, dict):
        return {key: _copied(entry) for key, entry in value.items()}
    return type(value)(map(_copied, value)) if type(value) in (list, tuple) else value


def _entry(document: dict[Any, Any], key: str) -> Any:
    """A plain value of a document; None where there is none, or a tensor, which cannot be compared."""
    value = document.get(key)
    return None if isinstance(value, Tensor) else value


# A file of the published code; some copies have an extension.
STEP = re.compile(r"step_([0-9]{1,18})(\.\w+)?")


def locate(path: Path) -> Path:
    """The checkpoint's file: the path itself, or in a folder the `step_N` with the highest N, else its only checkpoint.

    Raises:
        CheckpointError: a folder without a checkpoint, or with several and nothing to choose by.
    """
    if not path.is_dir():
        return path
    files = sorted(file for file in path.iterdir() if file.is_file() and zipfile.is_zipfile(file))
    steps = {file: int(match[1]) for file in files if (match := STEP.fullmatch(file.name))}
    candidates = [file for file in steps if steps[file] == max(steps.values())] or files
    if not candidates:
        raise CheckpointError(f"{path}: is a folder without a checkpoint file, expected a step_N in it")
    if len(candidates) > 1:
        names = ", ".join(file.name for file in candidates)
        raise CheckpointError(f"{path}: is a folder with several checkpoints: {names}", hint="name one of them")
    return candidates[0]


def load(path: Path, settings: Sequence[str] = ()) -> Checkpoint:
    """Read a checkpoint, ours or one of the published code.

    Args:
        path: the file, or the folder of a published one, see `locate`.
        settings: KEY=VALUE, what a published checkpoint does not say of itself; see `trm_deploy.published.parse_flags`.

    Raises:
        CheckpointError: see `read_pickle`; or the file is neither, or its weights do not fit its spec.
        InputError: settings for a checkpoint of ours.
    """
    from trm_deploy import published

    path = locate(path)
    document = read_pickle(path, mapped=True)
    if published.is_state_dict(document):
        return published.from_state_dict(path, document, published.parse_flags(settings), sha256(path))
    if not isinstance(document, dict) or _entry(document, "format") != FORMAT:
        inside = (
            [key for key, value in document.items() if published.is_state_dict(value)]
            if isinstance(document, dict)
            else []
        )
        if inside:
            raise CheckpointError(
                f"{path}: holds a state dict under {shown(inside[0])} among other things, expected the bare state dict",
                hint=f"save it by itself: torch.save(torch.load(FILE)[{shown(inside[0])}], 'step_N')",
            )
        raise CheckpointError(
            f"{path}: is no trm-deploy checkpoint (no 'format' entry that says {FORMAT!r}),"
            " nor one of the published code",
            hint="expected the ema.pt that 'trm-deploy train' writes, or a published step_N",
        )
    if settings:
        raise InputError(
            f"--set {settings[0]} goes with a checkpoint of the published code: {path} says all of itself",
            hint="leave out --set",
        )
    schema = _entry(document, "schema")
    if schema != SCHEMA:
        raise CheckpointError(
            f"{path}: has checkpoint schema {shown(schema)}, this trm-deploy reads {SCHEMA}",
            hint="type: pip install --upgrade trm-deploy",
        )
    spec, ema, training = (document.get(key) for key in ("spec", "ema", "training"))
    if not isinstance(spec, str) or not isinstance(training, dict):
        raise CheckpointError(f"{path}: the entry 'spec' or 'training' is missing or of the wrong type")
    if any(type(value) not in (str, int, float, bool, type(None)) for value in training.values()):
        raise CheckpointError(f"{path}: the entry 'training' holds more than plain values")
    if not isinstance(ema, dict) or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in ema.items()):
        raise CheckpointError(f"{path}: the entry 'ema' is missing or no dict of tensors")
    try:
        parsed = ModelSpec.from_json(spec, source=str(path))
    except SpecError as error:
        raise CheckpointError(str(error)) from error
    # What is small is copied out of the mapped file, which may be replaced.
    kept = {
        name: value if name == "puzzles" and parsed.puzzle_table_outside else value.clone()
        for name, value in ema.items()
    }
    return Checkpoint(parsed, kept, training, sha256(path), str(path))
