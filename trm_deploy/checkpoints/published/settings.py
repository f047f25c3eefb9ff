"""What flags and the files beside it say of a published checkpoint."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from trm_deploy import hub
from trm_deploy.checkpoints.published.config_files import CONFIG, DATASET, read_settings
from trm_deploy.errors import CheckpointError, InputError, shown
from trm_deploy.support.plain import MAX_INTEGER

MAX_WORD = 200  # characters of a name

# The settings that count here, by their published names. `task` and `weights` are ours: the published code does not
# name tasks, and its files hold nothing but weights.
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
    "weights": str,
}
# Settings of `arch` in the published code that do not change what a trained model computes, and those that it hands
# over from the dataset.
WITHOUT_EFFECT = {"arch.loss", "arch.halt_exploration_prob", "arch.forward_dtype", "arch.batch_size"}
FROM_DATASET = {f"arch.{key}": key for key in ("seq_len", "vocab_size", "num_puzzle_identifiers")}
# Known with this value alone.
FIXED = {"arch.causal": False}
# The value of a flag that lets a setting pass that is not known here.
IGNORE = "ignore"
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
        if key not in SETTINGS and not (value == IGNORE and key.startswith("arch.")):
            raise InputError(f"--set {entry[:80]}: {shown(key)} is unknown, expected one of {', '.join(SETTINGS)}")
        if key in given:
            raise InputError(f"--set {key} is given twice: {given[key][:80]} and {value[:80]}", hint="leave one out")
        given[key] = value
    return given


class PublishedSettings:
    """What flags and files say, the flags first.

    Attributes:
        notes: each setting that has been read, with its value and where it comes from.
        contradictions: each flag that says otherwise than a file, or to ignore what one says, in words.
    """

    def __init__(self, path: Path, given: Mapping[str, str], inside: Mapping[str, Any] | None = None) -> None:
        self.path = path
        self.notes: dict[str, str] = {}
        self.contradictions: list[str] = []
        self._values: dict[str, tuple[Any, str]] = {}
        self._unknown: dict[str, tuple[Any, str]] = {}
        for name, values in read_settings(path, inside):
            self._take(name, values, given)
        for key, value in hub.settings_of(path).items():
            self._values.setdefault(key, (_converted(value, key, f"{hub.CATALOGUE}: {key}"), hub.CATALOGUE))
        for key, text in given.items():
            if key not in SETTINGS:
                self._ignore(key)
                continue
            value, before = _converted(text, key, f"--set {key}"), ""
            if key in self._values and self._values[key][0] != value:
                said, name = self._values[key]
                before = f", not {said} as in {name}"
                self.contradictions.append(f"{key}={value}, where {name} says {said}")
            self._values[key] = (value, f"--set{before}")

    def _take(self, name: str, values: Mapping[str, Any], given: Mapping[str, str]) -> None:
        """What one source says; two that contradict each other are no files of one run."""
        for theirs, value in values.items():
            key = FROM_DATASET.get(theirs, theirs)
            if key in SETTINGS and key != "weights":
                converted = _converted(value, key, f"{self.path.parent / name}: {theirs}")
                said, before = self._values.setdefault(key, (converted, name))
                if said != converted and key not in given:
                    raise CheckpointError(
                        f"{self.path}: {name} beside it says {key} = {converted}, {before} says {said}",
                        hint=f"leave only the files of its own run beside it, or say it with --set {key}=VALUE",
                    )
            elif key.startswith("arch.") and key not in WITHOUT_EFFECT and FIXED.get(key, IGNORE) != value:
                self._unknown.setdefault(key, (value, name))

    def _ignore(self, key: str) -> None:
        if key not in self._unknown:
            raise InputError(
                f"--set {key[:80]}={IGNORE}: nothing beside {self.path} says {shown(key)}", hint="leave it out"
            )
        value, name = self._unknown.pop(key)
        self.contradictions.append(f"{key}={IGNORE}, where {name} says {shown(value)}")
        self.notes[key] = f"{key} = {shown(value)} ({name}; ignored, by --set)"

    def refuse_unknown(self) -> None:
        """Refuse settings that the published classes do not have: what has them may compute otherwise.

        Raises:
            CheckpointError: naming all of them, and the flags that let them pass.
        """
        if not self._unknown:
            return
        names = list(self._unknown)[:20]
        found = ", ".join(f"{key} = {shown(self._unknown[key][0])}" for key in names)
        source = next(iter(self._unknown.values()))[1]
        flags = " ".join(f"--set {key}={IGNORE}" for key in names)
        raise CheckpointError(
            f"{self.path}: {source} has {found}, unknown to the published code: a fork may compute otherwise",
            hint=f"where it changes nothing of what the trained model computes, add {flags}",
        )

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
        place = source if source == hub.CATALOGUE else self.path.parent / source
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
