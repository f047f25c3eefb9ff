"""The files beside a published checkpoint that hold its settings, as plain values by their published names.

all_config.yaml      of the published training
.hydra/config.yaml   of Hydra, which runs the published training
config.yaml          of other trainings and of model hubs, where it holds an `arch`
config.json          the same
dataset.json         of the dataset: sequence length, vocabulary, puzzle identifiers
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trm_deploy.artefacts import foreign
from trm_deploy.checkpoints.published.finding import find_arch
from trm_deploy.errors import CheckpointError, require

CONFIG, DATASET = "all_config.yaml", "dataset.json"
# Those that need not be about a network: only an `arch` in them counts.
OTHERS = (".hydra/config.yaml", "config.yaml", "config.json")
MAX_TEXT = 1 << 20  # bytes of each; the published ones have under 2,000
# Hydra's reference to another setting: ${.hidden_size} from `arch` itself, ${arch.hidden_size} from above.
REFERENCE = re.compile(r"\$\{(?:\.|\.\.arch\.|arch\.)(\w+)\}")


def present(checkpoint: Path) -> list[Path]:
    """Those files beside a checkpoint that exist."""
    return [file for name in (CONFIG, *OTHERS, DATASET) if (file := checkpoint.parent / name).is_file()]


def read_settings(path: Path, inside: Mapping[str, Any] | None = None) -> list[tuple[str, dict[str, Any]]]:
    """What each source says of a checkpoint, by published names such as ``arch.H_cycles`` and ``seq_len``.

    Args:
        path: the checkpoint; the files are beside it.
        inside: an `arch` that the checkpoint's own file holds beside the weights.

    Returns:
        The sources that exist: name, and its settings.

    Raises:
        CheckpointError: a file cannot be read, or the published training's has no `arch`.
        MissingPackage: there is one in YAML, and no PyYAML to read it with.
    """
    found = [] if inside is None else [(path.name, _of_arch(inside))]
    for name in (CONFIG, *OTHERS):
        file = path.parent / name
        if not file.is_file():
            continue
        document = _json(file) if file.suffix == ".json" else _yaml(file)
        arch = find_arch(document)
        if arch is not None:
            found.append((name, _of_arch(arch)))
        elif name == CONFIG:
            raise CheckpointError(
                f"{file}: has no mapping 'arch', expected the file that the published training writes"
            )
    file = path.with_name(DATASET)
    if file.is_file():
        document = _json(file)
        if not isinstance(document, dict):
            raise CheckpointError(f"{file}: is a JSON {type(document).__name__}, expected an object with keys")
        found.append((DATASET, {key: value for key, value in document.items() if isinstance(key, str)}))
    return found


def _of_arch(arch: Mapping[Any, Any]) -> dict[str, Any]:
    """Settings by their names, references to other settings followed."""
    settings: dict[str, Any] = {}
    for key, value in arch.items():
        match = REFERENCE.fullmatch(value) if isinstance(value, str) else None
        settings[f"arch.{key}"] = arch.get(match[1], value) if match else value
    return settings


def _read(file: Path) -> bytes:
    if file.stat().st_size > MAX_TEXT:
        raise CheckpointError(f"{file}: has {file.stat().st_size:,} bytes, expected at most {MAX_TEXT:,}")
    content = file.read_bytes()
    if (known := foreign.recognize(file)) is not None:
        raise CheckpointError(f"{file}: is {known.what}", hint=known.cure)
    return content


def _yaml(file: Path) -> Any:
    yaml = require("yaml", extra="export", purpose=f"to read {file}")
    try:
        return yaml.safe_load(_read(file))
    except (OSError, ValueError, RecursionError, OverflowError, yaml.YAMLError) as error:  # ValueError: 2024-99-99
        raise CheckpointError(f"{file}: is not plain YAML ({' '.join(str(error).split())})") from error


def _json(file: Path) -> Any:
    try:
        return json.loads(_read(file))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{file}: cannot be read as JSON ({error})") from error
