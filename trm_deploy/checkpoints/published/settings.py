"""What flags, `all_config.yaml` and `dataset.json` say of a published checkpoint."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from trm_deploy import hub
from trm_deploy.errors import CheckpointError, InputError, require, shown
from trm_deploy.support.plain import MAX_INTEGER

CONFIG, DATASET = "all_config.yaml", "dataset.json"
MAX_WORD = 200  # characters of a name
MAX_TEXT = 1 << 20  # bytes of each; the published ones have under 2,000

# The settings that count here, by their published names. `task` is ours: the published code does not name tasks.
SETTINGS: dict[str, type] = {
    "task": str,
    "seq_len": int,
    "vocab_size": int,
    "num_puzzle_identifiers": int,
    "arch.name": str,
    "arch.hidden_size": int,
    "arch.num_heads": int,
    "arch.expansion": float,
    "arch.L_layers": int,
    "arch.H_layers": int,
    "arch.L_cycles": int,
    "arch.H_cycles": int,
    "arch.mlp_t": bool,
    "arch.pos_encodings": str,
    "arch.puzzle_emb_ndim": int,
    "arch.puzzle_emb_len": int,
    "arch.halt_max_steps": int,
    "arch.no_ACT_continue": bool,
    "arch.rms_norm_eps": float,
    "arch.rope_theta": float,
}
CONSTANTS = {"arch.rms_norm_eps": 1e-5, "arch.rope_theta": 10000.0}
KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a word"}


def parse_overrides(entries: Sequence[str]) -> dict[str, str]:
    """The values of `--set KEY=VALUE`, by key.

    Raises:
        InputError: no such setting, one without a value, or one that is given twice.
    """
    given: dict[str, str] = {}
    for entry in entries:
        key, equals, value = entry.partition("=")
        if not equals or not value:
            raise InputError(f"--set is {shown(entry)}, expected KEY=VALUE", hint="such as --set arch.H_cycles=3")
        if key not in SETTINGS:
            raise InputError(f"--set {entry[:80]}: {shown(key)} is unknown, expected one of {', '.join(SETTINGS)}")
        if key in given:
            raise InputError(f"--set {key} is given twice: {given[key][:80]} and {value[:80]}", hint="leave one out")
        given[key] = value
    return given


class PublishedSettings:
    """What flags, `all_config.yaml` and `dataset.json` say, the flags first.

    Attributes:
        notes: each setting that has been read, with its value and where it comes from.
    """

    def __init__(self, path: Path, given: Mapping[str, str]) -> None:
        self.path = path
        self.notes: dict[str, str] = {}
        self._values: dict[str, tuple[Any, str]] = {}
        for name, values in ((CONFIG, _config(path)), (DATASET, _dataset(path))):
            for key in values.keys() & SETTINGS.keys():
                self._values[key] = (_converted(values[key], key, f"{path.with_name(name)}: {key}"), name)
        for key, value in hub.settings_of(path).items():
            if key not in self._values:
                self._values[key] = (_converted(value, key, f"{hub.CATALOGUE}: {key}"), hub.CATALOGUE)
        for key, text in given.items():
            before = f", not {self._values[key][0]} as in {self._values[key][1]}" if key in self._values else ""
            self._values[key] = (_converted(text, key, f"--set {key}"), f"--set{before}")

    def get(self, key: str) -> Any:
        """The value that is said; None where nothing says it."""
        if key not in self._values:
            return None
        value, source = self._values[key]
        self.notes[key] = f"{key} = {value} ({source})"
        return value

    def note(self, key: str, value: Any, source: str) -> None:
        """Keep in mind where a value comes from."""
        self.notes[key] = f"{key} = {value} ({source})"

    def agree(self, key: str, shown: Any, where: str) -> None:
        """Compare what the weights show with what is said, if anything is.

        Raises:
            CheckpointError: they contradict each other.
        """
        if key in self._values and self._values[key][0] != shown:
            self.contradiction(key, f"{where}: {key} is {shown}")
        self.note(key, shown, f"weights, and {self._values[key][1]}" if key in self._values else "weights")

    def contradiction(self, key: str, shown: str) -> NoReturn:
        """Raises `CheckpointError`: the weights show this, something else is said of `key`."""
        value, source = self._values[key]
        place = source if source == hub.CATALOGUE else self.path.with_name(source)
        place = "--set" if source.startswith("--set") else place
        raise CheckpointError(
            f"{self.path}: {shown}, but {place} says {key} = {value}",
            hint="take the all_config.yaml and dataset.json of the same run, or say it right with --set KEY=VALUE",
        )

    def require(self, keys: list[str]) -> None:
        """Refuse where nothing says one of these.

        Raises:
            CheckpointError: naming all that are missing and the flags to give them.
        """
        missing = [key for key in keys if key not in self._values]
        if missing:
            examples = {int: "NUMBER", float: "NUMBER", bool: "true|false", str: "WORD"}
            flags = " ".join(f"--set {key}={examples[SETTINGS[key]]}" for key in missing)
            raise CheckpointError(
                f"{self.path}: its weights cannot tell {', '.join(missing)}, and no {CONFIG} or {DATASET} beside it"
                " says it",
                hint=f"put the run's {CONFIG} and the dataset's {DATASET} beside it, or add {flags}",
            )


def _config(path: Path) -> dict[str, Any]:
    """The settings of the network in `all_config.yaml`, by their published names."""
    file = path.with_name(CONFIG)
    if not file.is_file():
        return {}
    yaml = require("yaml", extra="export", purpose=f"to read {file}")
    try:
        if file.stat().st_size > MAX_TEXT:
            raise CheckpointError(f"{file}: has {file.stat().st_size:,} bytes, expected at most {MAX_TEXT:,}")
        document = yaml.safe_load(file.read_bytes())
    except (OSError, ValueError, RecursionError, OverflowError, yaml.YAMLError) as error:  # ValueError: 2024-99-99
        raise CheckpointError(f"{file}: is not plain YAML ({' '.join(str(error).split())})") from error
    arch = document.get("arch") if isinstance(document, dict) else None
    if not isinstance(arch, dict):
        raise CheckpointError(f"{file}: has no mapping 'arch', expected the file that the published training writes")
    return {f"arch.{key}": value for key, value in arch.items()}


def _dataset(path: Path) -> dict[str, Any]:
    """What `dataset.json` says; the published one has more keys than are of use here."""
    file = path.with_name(DATASET)
    if not file.is_file():
        return {}
    try:
        if file.stat().st_size > MAX_TEXT:
            raise CheckpointError(f"{file}: has {file.stat().st_size:,} bytes, expected at most {MAX_TEXT:,}")
        document = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{file}: cannot be read as JSON ({error})") from error
    if not isinstance(document, dict):
        raise CheckpointError(f"{file}: is a JSON {type(document).__name__}, expected an object with keys")
    return document


def _converted(value: Any, key: str, place: str) -> Any:
    """A value from YAML, JSON or a flag's text as the setting's type."""
    kind = SETTINGS[key]
    converted: Any = None
    if kind is bool:
        converted = {"true": True, "false": False}.get(str(value).lower())
    elif kind is str:
        converted = value if isinstance(value, str) else None
    elif isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            # PyYAML takes 1e-05, which has no dot, for a word.
            converted = float(value) if kind is float or isinstance(value, float) else int(value)
        except (ValueError, OverflowError):
            converted = None
        if isinstance(converted, float) and (kind is int or not math.isfinite(converted)):
            converted = None
    if isinstance(converted, str) and len(converted) > MAX_WORD:
        converted = None
    if converted is None or (isinstance(converted, (int, float)) and not 0 <= converted <= MAX_INTEGER):
        raise CheckpointError(f"{place} is {shown(value)}, expected {KINDS[kind]}")
    return converted
