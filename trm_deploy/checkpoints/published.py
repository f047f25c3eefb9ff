"""Checkpoints of the published TRM and HRM code: `step_N`, a bare state dict, with its configuration beside it.

    step_N           state dict; `torch.compile` and the loss head leave prefixes on its keys
    all_config.yaml  the run's configuration; its `arch` holds the network's settings
    dataset.json     of the dataset that it was trained on: sequence length, vocabulary, puzzle identifiers

What the weights do not show comes from the two files or from flags (`--set arch.H_cycles=3`), never from a guess: a
wrong one loads without complaint and answers wrongly. What is said twice is compared. What the published classes do
with these settings stands in their sources: models/recursive_reasoning/trm.py of SamsungSAILMontreal's
TinyRecursiveModels, models/hrm/hrm_act_v1.py of sapientinc's HRM.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from torch import Tensor

from trm_deploy import puzzles
from trm_deploy.checkpoints.base import Checkpoint, check_weights
from trm_deploy.errors import CheckpointError, InputError, SpecError, require, shown
from trm_deploy.spec import Architecture, Halting, ModelSpec, Recursion, TaskSpec, swiglu_width
from trm_deploy.support.files import sha256
from trm_deploy.support.plain import MAX_INTEGER

CONFIG, DATASET = "all_config.yaml", "dataset.json"
MAX_WORD = 200  # characters of a name
MAX_TEXT = 1 << 20  # bytes of each; the published ones have under 2,000

# What stands before a weight's own name, in any number and order.
PREFIX = re.compile(r"(_orig_mod\.|model\.|inner\.)*")

# The published names and ours.
NAMES = {
    "H_init": "y_init",
    "L_init": "z_init",
    "embed_tokens.embedding_weight": "tokens.weight",
    "lm_head.weight": "answer_head.weight",
    "q_head.weight": "halt_head.weight",
    "q_head.bias": "halt_head.bias",
    "puzzle_emb.weights": "puzzles",
    "embed_pos.embedding_weight": "position",
}
LAYER = re.compile(r"([LH])_level\.layers\.([0-9]{1,4})\.(\w+\.\w+)\.weight")
NETWORKS = {"L": "networks.0", "H": "networks.1"}
PARTS = {
    "mlp_t.gate_up_proj": "mixer.mlp.gate_up",
    "mlp_t.down_proj": "mixer.mlp.down",
    "self_attn.qkv_proj": "mixer.qkv",
    "self_attn.o_proj": "mixer.out",
    "mlp.gate_up_proj": "mlp.gate_up",
    "mlp.down_proj": "mlp.down",
}

_INVERSE = {ours: theirs for table in (NAMES, NETWORKS, PARTS) for theirs, ours in table.items()}

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
POSITIONS = {"rope": "rotary", "learned": "learned", "none": "none"}

# The published classes that are this one: the file of the class, as in `recursive_reasoning.trm@...`.
TRM, HRM = "TinyRecursiveReasoningModel_ACTV1", "HierarchicalReasoningModel_ACTV1"
CLASSES = {("trm", TRM): "TRM", ("hrm", HRM): "HRM", ("hrm_act_v1", HRM): "HRM"}


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


def is_state_dict(document: object) -> bool:
    """Whether it looks like what the published code saves: tensors by name, with a reasoning level among them."""
    return (
        isinstance(document, dict)
        and all(isinstance(key, str) and isinstance(value, Tensor) for key, value in document.items())
        and any(LAYER.fullmatch(_bare(key)) for key in document)
    )


def from_document(path: Path, document: Mapping[str, Tensor], overrides: Sequence[str] = ()) -> Checkpoint:
    """Our checkpoint from a published state dict.

    Args:
        path: the file that it was read from; its configuration is looked for in the same folder.
        document: see `is_state_dict`. Of a puzzle table that stays outside the graph no copy is made.
        overrides: KEY=VALUE, see `parse_overrides`; they go before what the files say.

    Raises:
        CheckpointError: a setting is missing, or contradicts the weights; a weight that these classes do not have.
        MissingPackage: there is an `all_config.yaml`, and no PyYAML to read it with.
    """
    names = _names(path, document)
    weights = {ours: document[theirs] for ours, theirs in names.items()}
    settings = _Settings(path, parse_overrides(overrides))
    spec = _Reading(path, weights, names, settings).spec()
    check_weights(spec, weights, str(path), called=lambda ours: names.get(ours) or published_name(ours))
    # The file may be replaced while it is mapped: what is small is copied out of it, in our type.
    kept = {
        name: tensor if name == "puzzles" and spec.puzzle_table_outside else tensor.float().clone()
        for name, tensor in weights.items()
    }
    return Checkpoint(
        spec,
        kept,
        sha256=sha256(path),
        source=str(path),
        settings=tuple(settings.notes.values()),
        overrides=tuple(overrides),
    )


def _bare(name: str) -> str:
    return PREFIX.sub("", name, count=1)


def published_name(ours: str) -> str:
    """The published name, without prefixes, of a weight of ours."""
    if match := re.fullmatch(r"(networks\.\d)\.blocks\.(\d+)\.(.+)\.weight", ours):
        network, layer, part = match.groups()
        return f"{_INVERSE[network]}_level.layers.{layer}.{_INVERSE[part]}.weight"
    return _INVERSE[ours]


def _names(path: Path, document: Mapping[str, Tensor]) -> dict[str, str]:
    """Our name of each weight -> its name in the file."""
    names: dict[str, str] = {}
    for theirs, tensor in document.items():
        bare = _bare(theirs)
        ours = NAMES.get(bare, "")
        if match := LAYER.fullmatch(bare):
            level, layer, part = match.groups()
            ours = f"{NETWORKS[level]}.blocks.{layer}.{PARTS[part]}.weight" if part in PARTS else ""
        if not ours:
            raise CheckpointError(
                f"{path}: the weight {theirs} {list(tensor.shape)} belongs to neither the published TRM nor HRM",
                hint="only these two can be read; other classes of that code, and of its forks, compute otherwise",
            )
        if ours in names:
            raise CheckpointError(f"{path}: the weights {names[ours]} and {theirs} are the same one, expected it once")
        if not tensor.is_floating_point():
            raise CheckpointError(f"{path}: the weight {theirs} is {tensor.dtype}, expected floating-point numbers")
        names[ours] = theirs
    return names


class _Settings:
    """What flags, `all_config.yaml` and `dataset.json` say, the flags first.

    Attributes:
        notes: for each setting that was asked for, its value and where it comes from.
    """

    def __init__(self, path: Path, given: Mapping[str, str]) -> None:
        self.path = path
        self.notes: dict[str, str] = {}
        self._values: dict[str, tuple[Any, str]] = {}
        for name, values in ((CONFIG, _config(path)), (DATASET, _dataset(path))):
            for key in values.keys() & SETTINGS.keys():
                self._values[key] = (_converted(values[key], key, f"{path.with_name(name)}: {key}"), name)
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
        place = "--set" if source.startswith("--set") else self.path.with_name(source)
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
        raise CheckpointError(f"{file}: is no plain YAML ({' '.join(str(error).split())})") from error
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


class _Reading:
    """A spec from weights (by our names) and settings."""

    def __init__(self, path: Path, weights: dict[str, Tensor], names: dict[str, str], settings: _Settings) -> None:
        self.path = path
        self.weights = weights
        self.names = names
        self.settings = settings
        self.kind = "HRM" if any(name.startswith("networks.1.") for name in weights) else "TRM"
        self.mixer = "mlp" if any(".mixer.mlp." in name for name in weights) else "attention"
        table = weights.get("puzzles")
        self.identifiers, self.embedding_size = (1, 0) if table is None else self._matrix("puzzles")
        self.vocabulary, self.hidden_size = self._matrix("tokens.weight")
        # Learned positions and an MLP over positions show how many there are.
        places = ("position", "networks.0.blocks.0.mixer.mlp.down.weight")
        self.shows_total = next((name for name in places if name in weights), "")
        self.total = self._matrix(self.shows_total)[0] if self.shows_total else None

    def spec(self) -> ModelSpec:
        """The whole spec."""
        settings = self.settings
        self._check_class()
        layers = self._layers()
        self._check_sizes()
        attention = self.mixer == "attention"
        prefix, length = self._lengths()
        settings.require(
            ["arch.H_cycles", "arch.L_cycles", "arch.halt_max_steps", "arch.expansion"]
            + ["arch.num_heads"] * attention
            + ["arch.pos_encodings"] * (attention and "position" not in self.weights)
            + ["arch.no_ACT_continue"] * (self.kind == "TRM")
            + ["seq_len"] * (length is None)
            + ["arch.puzzle_emb_len"] * (prefix is None)
        )
        assert prefix is not None
        assert length is not None
        positions = self._positions()
        self._check_lengths(prefix, length)
        self._check_expansion()
        continues = self.kind == "HRM" or not settings.get("arch.no_ACT_continue")
        try:
            return ModelSpec(
                task=self._task(length),
                architecture=Architecture(
                    hidden_size=self.hidden_size,
                    layers=layers,
                    networks="separate" if self.kind == "HRM" else "shared",
                    mixer="attention" if attention else "mlp",
                    heads=settings.get("arch.num_heads") if attention else 1,  # an MLP has none
                    expansion=settings.get("arch.expansion"),
                    positions=positions,
                    prefix_length=prefix,
                    puzzle_embedding_size=self.embedding_size,
                    rms_norm_eps=self._constant("arch.rms_norm_eps"),
                    rope_theta=self._constant("arch.rope_theta"),
                ),
                recursion=Recursion(latent=settings.get("arch.L_cycles"), deep=settings.get("arch.H_cycles")),
                halting=Halting(
                    rule="halt-continue" if continues else "halt", max_steps=settings.get("arch.halt_max_steps")
                ),
            )
        except SpecError as error:
            raise CheckpointError(
                f"{self.path}: {error}", hint=f"see {CONFIG} beside it; --set KEY=VALUE goes before it"
            ) from error

    def _constant(self, key: str) -> Any:
        """What is said, else what the published classes fix."""
        said = self.settings.get(key)
        if said is None:
            said = CONSTANTS[key]
            self.settings.note(key, said, "the published classes")
        return said

    def _described(self, name: str) -> str:
        """A weight as the file has it, for messages."""
        return f"the weight {self.names[name]} {list(self.weights[name].shape)}"

    def _matrix(self, name: str) -> tuple[int, int]:
        if name not in self.weights:
            raise CheckpointError(f"{self.path}: the weight {published_name(name)} is missing")
        if self.weights[name].ndim != 2 or not self.weights[name].numel():
            raise CheckpointError(f"{self.path}: {self._described(name)} is no matrix, or an empty one")
        rows, columns = self.weights[name].shape
        return rows, columns

    def _check_class(self) -> None:
        """The class that the configuration names must be one of the two, and the one that the weights show."""
        name = self.settings.get("arch.name")
        if name is None:
            return
        module, _, kind = name.rpartition("@")
        named = CLASSES.get((module.rpartition(".")[2], kind))
        if named is None:
            known = ", ".join(f"{module}@{kind}" for module, kind in CLASSES)
            raise CheckpointError(
                f"{self.path}: arch.name is {name!r}, expected the published {known}",
                hint="if it computes the same as one of them, name that one with --set arch.name=MODULE@CLASS",
            )
        if named != self.kind:
            levels = "with" if self.kind == "HRM" else "without"
            self.settings.contradiction("arch.name", f"its weights are those of a {self.kind} ({levels} an H_level)")

    def _layers(self) -> int:
        """Layers of each network."""
        counts: dict[str, int] = {}
        for level, network in NETWORKS.items():
            numbers = {int(name.split(".")[3]) for name in self.weights if name.startswith(f"{network}.")}
            if numbers != set(range(len(numbers))):
                raise CheckpointError(f"{self.path}: {level}_level has the layers {sorted(numbers)}, some are missing")
            counts[level] = len(numbers)
        if not counts["L"]:
            raise CheckpointError(f"{self.path}: has no weights of an L_level")
        self.settings.agree("arch.L_layers", counts["L"], "its weights")
        if self.kind == "HRM":
            self.settings.agree("arch.H_layers", counts["H"], "its weights")
            if counts["H"] != counts["L"]:
                raise CheckpointError(
                    f"{self.path}: has {counts['H']} layers in H_level and {counts['L']} in L_level, expected as many:"
                    " networks of different depth are not supported"
                )
        return counts["L"]

    def _check_sizes(self) -> None:
        """What weights and configuration both tell."""
        agree = self.settings.agree
        tokens = self._described("tokens.weight")
        agree("vocab_size", self.vocabulary, tokens)
        agree("arch.hidden_size", self.hidden_size, tokens)
        table = self._described("puzzles") if self.embedding_size else "it has no puzzle_emb.weights"
        agree("arch.puzzle_emb_ndim", self.embedding_size, table)
        if self.embedding_size:
            # Without a table, puzzles are not told apart, however many the dataset has.
            agree("num_puzzle_identifiers", self.identifiers, table)
        if self.kind == "TRM":
            agree("arch.mlp_t", self.mixer == "mlp", "its weights")

    def _positions(self) -> Any:
        """Our word for the position encoding; the published code has a table of learned ones and no other weights."""
        learned = "position" in self.weights
        named = self.settings.get("arch.pos_encodings")
        if named is not None and named not in POSITIONS:
            raise CheckpointError(
                f"{self.path}: arch.pos_encodings is {named!r}, expected one of {', '.join(POSITIONS)}"
            )
        if learned or named == "learned":
            shown = "learned" if learned else "not learned"
            where = self._described("position") if learned else "it has no embed_pos.embedding_weight"
            self.settings.agree("arch.pos_encodings", shown, where)
            return "learned"
        if self.mixer == "mlp":
            # Rotary positions act inside attention: the published code makes their tables, and never reads them here.
            return "none"
        if self.kind == "HRM" and named == "none":
            raise CheckpointError(f"{self.path}: arch.pos_encodings is 'none', expected rope or learned in an HRM")
        return POSITIONS[named]

    def _lengths(self) -> tuple[int | None, int | None]:
        """P and L, prefix length and sequence length, as far as weights and settings tell them."""
        prefix, length = self._prefix(), self.settings.get("seq_len")
        if self.total is not None:
            if prefix is None and length is not None:
                prefix = self.total - length
                self.settings.note("arch.puzzle_emb_len", prefix, "weights, less seq_len")
            elif length is None and prefix is not None:
                length = self.total - prefix
                self.settings.note("seq_len", length, "weights, less the prefix")
        return prefix, length

    def _check_lengths(self, prefix: int, length: int) -> None:
        """P and L must be those of the weights, and the puzzle table's rows fit into the prefix."""
        if self.total not in (None, prefix + length):
            raise CheckpointError(
                f"{self.path}: {self._described(self.shows_total)} is for {self.total} positions,"
                f" expected {prefix + length}: a prefix of {prefix} and seq_len {length}",
                hint="take the all_config.yaml and dataset.json of the same run, or say it right with --set KEY=VALUE",
            )
        room = prefix * self.hidden_size
        if self.embedding_size > room:
            raise CheckpointError(
                f"{self.path}: {self._described('puzzles')} has rows of {self.embedding_size}, expected at most {room}:"
                f" arch.puzzle_emb_len is {prefix}, arch.hidden_size {self.hidden_size}"
            )

    def _prefix(self) -> int | None:
        """P as far as the settings tell it.

        The published code rounds the rows of the puzzle table up to whole tokens; TRM has `puzzle_emb_len`, which goes
        before that unless it is 0. Its default differs from the rounding, so nothing is taken for granted where it is
        missing. Without a table no tokens are put before the question: a prefix length other than 0 cannot run there.
        """
        rounded = -(-self.embedding_size // self.hidden_size)
        asked = self.settings.get("arch.puzzle_emb_len")
        if self.kind == "HRM" or not self.embedding_size:
            if asked not in (None, 0, rounded):
                why = (
                    "an HRM rounds up the rows of its puzzle table" if self.embedding_size else "it has no puzzle table"
                )
                self.settings.contradiction("arch.puzzle_emb_len", f"{why}: its prefix has {rounded} tokens")
            self.settings.note("arch.puzzle_emb_len", rounded, "weights")
            return rounded
        if asked is None:
            return None
        return rounded if asked == 0 else int(asked)

    def _check_expansion(self) -> None:
        """The hidden widths of the SwiGLUs must be those that the expansion makes."""
        expansion = self.settings.get("arch.expansion")
        for part in ("mixer.mlp", "mlp"):
            name = f"networks.0.blocks.0.{part}.down.weight"
            if name in self.weights:
                width, hidden = self._matrix(name)
                expected = swiglu_width(width, expansion)
                if hidden != expected:
                    self.settings.contradiction(
                        "arch.expansion",
                        f"{self._described(name)} has a hidden width of {hidden}, which expansion {expansion:g} makes"
                        f" {expected}",
                    )

    def _task(self, length: int) -> TaskSpec:
        name = self.settings.get("task") or ""
        vocabulary = tuple(map(str, range(self.vocabulary)))
        if name:
            try:
                puzzle = puzzles.get(name)
            except InputError as error:
                raise CheckpointError(f"--set task={name}: {error}") from error
            if (puzzle.cells, len(puzzle.vocabulary)) != (length, self.vocabulary):
                raise CheckpointError(
                    f"{self.path}: has {length} tokens a puzzle and a vocabulary of {self.vocabulary},"
                    f" --set task={name} has {puzzle.cells} and {len(puzzle.vocabulary)}"
                )
            vocabulary = puzzle.vocabulary
        return TaskSpec(name=name, sequence_length=length, vocabulary=vocabulary, puzzle_identifiers=self.identifiers)
