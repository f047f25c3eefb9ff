"""A spec from the weights of a published checkpoint and what is said of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from trm_deploy import puzzles
from trm_deploy.artefacts.kind import digest
from trm_deploy.checkpoints.base import Checkpoint, check_weights
from trm_deploy.checkpoints.published.config_files import CONFIG
from trm_deploy.checkpoints.published.families import CLASSES, FAMILIES
from trm_deploy.checkpoints.published.finding import choose, find_arch, state_dicts
from trm_deploy.checkpoints.published.names import NETWORKS, our_names, published_name
from trm_deploy.checkpoints.published.rotary import check_rotary_tables
from trm_deploy.checkpoints.published.settings import CONSTANTS, PublishedSettings, parse_overrides
from trm_deploy.errors import CheckpointError, InputError, SpecError
from trm_deploy.spec import Architecture, Halting, ModelSpec, Positions, Recursion, TaskSpec, swiglu_width

# The published names of position encodings and ours.
POSITIONS: dict[str, Positions] = {"rope": "rotary", "learned": "learned", "none": "none"}


def from_document(path: Path, document: Mapping[str, Any], overrides: Sequence[str] = ()) -> Checkpoint:
    """Our checkpoint from a file with a published state dict.

    Args:
        path: the file that it was read from; its configuration is looked for in the same folder.
        document: see `is_published`. Of a puzzle table that stays outside the graph no copy is made.
        overrides: KEY=VALUE, see `parse_overrides`; they go before what the files say.

    Raises:
        CheckpointError: a setting is missing, unknown or contradicts the weights; a weight that these classes do not
            have; or several state dicts.
        MissingPackage: there are settings in YAML, and no PyYAML to read it with.
    """
    given = parse_overrides(overrides)
    entries, place = choose(path, state_dicts(document), given.get("weights"))
    names, passed = our_names(path, entries)
    weights = {ours: entries[theirs] for ours, theirs in names.items()}
    settings = PublishedSettings(path, given, find_arch(document))
    if place:
        settings.note("weights", place, "--set" if "weights" in given else path.name)
    if passed:
        settings.note("passed over", ", ".join(passed), "hold nothing new")
    spec = _Reading(path, weights, names, settings).spec()
    check_weights(spec, weights, str(path), called=lambda ours: names.get(ours) or published_name(ours))
    check_rotary_tables(path, {name: entries[name] for name in passed}, spec)
    # The file may be replaced while it is mapped: what is small is copied out of it, in our type.
    kept = {
        name: tensor if name == "puzzles" and spec.puzzle_table_outside else tensor.float().clone()
        for name, tensor in weights.items()
    }
    return Checkpoint(
        spec,
        kept,
        sha256=digest(path),
        source=str(path),
        settings=tuple(settings.notes.values()),
        overrides=tuple(overrides),
        contradictions=tuple(settings.contradictions),
    )


class _Reading:
    """A spec from weights (by our names) and settings."""

    def __init__(
        self, path: Path, weights: dict[str, Tensor], names: dict[str, str], settings: PublishedSettings
    ) -> None:
        self.path = path
        self.weights = weights
        self.names = names
        self.settings = settings
        levels = {
            level for level, network in NETWORKS.items() if any(name.startswith(f"{network}.") for name in weights)
        }
        self.family = next(family for family in reversed(FAMILIES) if "H" not in family.levels or "H" in levels)
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
        settings.refuse_unknown()
        layers = self._layers()
        self._check_sizes()
        attention = self.mixer == "attention"
        prefix, length = self._lengths()
        settings.require(
            ["arch.H_cycles", "arch.L_cycles", "arch.halt_max_steps", "arch.expansion"]
            + ["arch.num_heads"] * attention
            + ["arch.pos_encodings"] * (attention and "position" not in self.weights)
            + ["arch.no_ACT_continue"] * (not self.family.always_continues)
            + ["seq_len"] * (length is None)
            + ["arch.puzzle_emb_len"] * (prefix is None)
        )
        assert prefix is not None
        assert length is not None
        positions = self._positions()
        self._check_lengths(prefix, length)
        self._check_expansion()
        continues = self.family.always_continues or not settings.get("arch.no_ACT_continue")
        try:
            return ModelSpec(
                task=self._task(length),
                architecture=Architecture(
                    hidden_size=self.hidden_size,
                    layers=layers,
                    networks=self.family.networks,
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

    def _constant(self, key: str) -> float:
        """What is said, else what the published classes fix."""
        said = self.settings.get(key)
        if said is None:
            said = CONSTANTS[key]
            self.settings.note(key, said, "the published classes")
        return float(said)

    def _described(self, name: str) -> str:
        """A weight as the file has it, for messages."""
        return f"the weight {self.names[name]} {list(self.weights[name].shape)}"

    def _matrix(self, name: str) -> tuple[int, int]:
        if name not in self.weights:
            raise CheckpointError(f"{self.path}: the weight {published_name(name)} is missing")
        if self.weights[name].ndim != 2 or not self.weights[name].numel():
            raise CheckpointError(f"{self.path}: {self._described(name)} is not a matrix, or is empty")
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
        if named is not self.family:
            levels = "with" if "H" in self.family.levels else "without"
            self.settings.contradiction(
                "arch.name", f"its weights are those of a {self.family.name} ({levels} an H_level)"
            )

    def _layers(self) -> int:
        """Layers of each network."""
        counts: dict[str, int] = {}
        for level in self.family.levels:
            numbers = {int(name.split(".")[3]) for name in self.weights if name.startswith(f"{NETWORKS[level]}.")}
            if numbers != set(range(len(numbers))):
                raise CheckpointError(f"{self.path}: {level}_level has the layers {sorted(numbers)}, some are missing")
            counts[level] = len(numbers)
            if not numbers:
                raise CheckpointError(f"{self.path}: has no weights of an {level}_level")
            self.settings.agree(f"arch.{level}_layers", len(numbers), "its weights")
        if len(set(counts.values())) > 1:
            depths = " and ".join(f"{counts[level]} layers in {level}_level" for level in sorted(counts))
            raise CheckpointError(
                f"{self.path}: has {depths}, expected the same number: networks of different depth are not supported"
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
        if "arch.mlp_t" in self.family.settings:
            agree("arch.mlp_t", self.mixer == "mlp", "its weights")

    def _positions(self) -> Positions:
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
        if named not in self.family.positions:
            raise CheckpointError(
                f"{self.path}: arch.pos_encodings is {named!r}, expected {' or '.join(self.family.positions)} in an"
                f" {self.family.name}"
            )
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
        said = self.settings.get("arch.puzzle_emb_len")
        if self.family.prefix_is_rounded or not self.embedding_size:
            if said not in (None, 0, rounded):
                why = (
                    f"an {self.family.name} rounds up the rows of its puzzle table"
                    if self.embedding_size
                    else "it has no puzzle table"
                )
                self.settings.contradiction("arch.puzzle_emb_len", f"{why}: its prefix has {rounded} tokens")
            self.settings.note("arch.puzzle_emb_len", rounded, "weights")
            return rounded
        if said is None:
            return None
        return rounded if said == 0 else int(said)

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
