"""What a checkpoint's file holds, and which file of a folder is meant."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from trm_deploy.artefacts import foreign
from trm_deploy.artefacts.kind import INDEX, is_checkpoint, is_safetensors, pieces
from trm_deploy.checkpoints import native, published, safetensors_file
from trm_deploy.checkpoints.archive import read_pickle
from trm_deploy.errors import CheckpointError, shown

# A file of the published code; some copies have an extension.
STEP = re.compile(r"step_([0-9]{1,18})(\.\w+)?")
# What evaluations of the published code leave beside it: one file of answers from each GPU.
PREDICTIONS = re.compile(r".+_preds\.[0-9]+(\.\w+)?")
# What `trm-deploy train` leaves in a run's folder: the model, and beside it what resuming needs.
SUFFIXES = (".pt", ".pth", ".ckpt", ".safetensors", ".bin")
MODEL, STATE = "ema.pt", "resume.pt"


# One of several files of a checkpoint.
PIECE = re.compile(r"(.+)-[0-9]{5}-of-([0-9]{5})(\.\w+)")


def read_document(path: Path) -> Any:
    """What a file of any form holds, its tensors mapped into memory; see `read_pickle` and `safetensors_file.read`.

    Of an index of several files it is what they hold together.

    Raises:
        CheckpointError: it cannot be read, is one of several files, or is an index that they contradict.
    """
    if where := pieces(path):
        return _joined(path, where)
    match = PIECE.fullmatch(path.name)
    if match and (index := path.with_name(f"{match[1]}{match[3]}{INDEX}")).is_file():
        raise CheckpointError(f"{path}: is one of {int(match[2])} files of a checkpoint", hint=f"name {index}")
    return _read(path)


def _joined(index: Path, where: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of several files by their index."""
    held: dict[str, Any] = {}
    for file in where.values():
        if not isinstance(file, str) or Path(file).name != file or not file:
            raise CheckpointError(f"{index}: names a file that is not beside it, {shown(file)}")
        if file not in held:
            held[file] = _read(index.with_name(file))
    for name, file in where.items():
        if not isinstance(held[file], dict) or not isinstance(held[file].get(name), Tensor):
            raise CheckpointError(
                f"{index.with_name(file)}: has no {name}, which its index {index.name} says it has",
                hint="take the index and the files of the same download",
            )
    return {name: held[file][name] for name, file in where.items()}


def _read(path: Path) -> Any:
    return safetensors_file.read(path) if is_safetensors(path) else read_pickle(path, mapped=True)


def is_model(document: object) -> bool:
    """Whether what a file holds is a model of a family that is read here."""
    return native.is_native(document) or published.is_published(document)


def locate(path: Path) -> Path:
    """The checkpoint's file: the path itself, or the one that is meant where it is a folder.

    In a folder of the published code that is the `step_N` with the highest N; in the folder of a training run `ema.pt`;
    in any other its only checkpoint. Predictions, and files that hold no model beside one that does, are passed over.

    Raises:
        CheckpointError: a folder without a checkpoint, or with several and nothing to choose by.
    """
    if not path.is_dir():
        return path
    files = sorted(
        file
        for file in path.iterdir()
        if file.is_file() and not PREDICTIONS.fullmatch(file.name) and is_checkpoint(file)
    )
    whole = [file for file in files if pieces(file)]
    parts = {name for file in whole for name in pieces(file).values() if isinstance(name, str)}
    files = [file for file in files if file.name not in parts]
    steps = {file: int(match[1]) for file in files if (match := STEP.fullmatch(file.name))}
    names = {file.name for file in files}
    if not steps and {MODEL, STATE} <= names:
        return path / MODEL
    if names == {STATE}:
        raise CheckpointError(
            f"{path}: is the folder of a training run without a model yet: {STATE} is there, {MODEL} is not",
            hint=f"go on with: trm-deploy train --output {path} --resume",
        )
    candidates = [file for file in steps if steps[file] == max(steps.values())] or files
    if not candidates:
        known = foreign.recognize_folder(path)
        if known is not None:
            raise CheckpointError(f"{path}: is {known.what}", hint=known.cure)
        for file in sorted(path.iterdir()):
            if file.is_file() and (STEP.fullmatch(file.name) or file.suffix in SUFFIXES):
                _read(file)  # says what is wrong with it
        raise CheckpointError(f"{path}: is a folder without a checkpoint file, expected a step_N or an {MODEL} in it")
    if len(candidates) > 1:
        candidates = [file for file in candidates if _holds_model(file)] or candidates
    if len(candidates) > 1:
        raise CheckpointError(
            f"{path}: is a folder with several checkpoints: {', '.join(file.name for file in candidates)}",
            hint="name one of them",
        )
    return candidates[0]


def _holds_model(file: Path) -> bool:
    try:
        return is_model(read_document(file))
    except CheckpointError:
        return False
