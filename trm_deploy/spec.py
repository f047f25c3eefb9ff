"""What a model is: frozen dataclasses with a JSON round trip. The same JSON travels inside every artefact.

    ModelSpec
    |-- task: TaskSpec              what the tokens mean
    |-- architecture: Architecture  the network
    |-- recursion: Recursion        how often it is applied
    `-- halting: Halting            when it stops

Unknown keys are refused: a key that a reader drops is a setting that silently does nothing.
"""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass, field
from typing import Literal

from trm_deploy.errors import SpecError, shown
from trm_deploy.support.plain import from_plain

SCHEMA = 1

# Bytes from which a puzzle-embedding table stays outside the graph.
LARGE_TABLE = 64 << 20

# What no model here comes near, and what memory is taken by: refused before any is taken.
MAX_TOKENS = 1 << 16  # L, and P
MAX_VOCABULARY = 1 << 16
MAX_IDENTIFIERS = (1 << 31) - 1  # they are int32
MAX_WIDTH = 1 << 16  # D
MAX_LAYERS = 256
MAX_RECURSIONS = 4096  # n, and T
MAX_STEPS = 65536
MAX_STATE = 1 << 26  # values of y, or of the logits, of one sample: 256 MiB in float32
MAX_PARAMETERS = 1 << 29  # 2 GiB in float32, which is all that an ONNX file holds; puzzle embeddings aside
# SwiGLU's hidden width is rounded up to a multiple of this, as in the published code.
WIDTH_MULTIPLE = 256

Networks = Literal["shared", "separate"]
Mixer = Literal["mlp", "attention"]
Positions = Literal["none", "rotary", "rotary-2d", "learned"]
HaltingRule = Literal["halt", "halt-continue"]


def _check(condition: bool, message: str) -> None:
    if not condition:
        raise SpecError(message)


def _at_most(limit: int, **values: int) -> None:
    """Refuse a number above what any model needs; its name is its place, with a double underscore for the dot."""
    for name, value in values.items():
        _check(value <= limit, f"{name.replace('__', '.')} is {shown(value)}, expected at most {limit}")


def swiglu_width(width: int, expansion: float) -> int:
    """Hidden width of a SwiGLU over `width` values: two thirds of the expansion, rounded up (TRM's and HRM's code)."""
    return -(-round(expansion * width * 2 / 3) // WIDTH_MULTIPLE) * WIDTH_MULTIPLE


@dataclass(frozen=True, kw_only=True)
class TaskSpec:
    """The puzzle and its encoding.

    Attributes:
        name: key of `trm_deploy.puzzles`, such as ``sudoku-9x9``; empty where nothing names the task.
        sequence_length: L, tokens in a question (and in its answer).
        vocabulary: what each token id means, in order of id; its length is V.
        puzzle_identifiers: rows of the puzzle-embedding table; 1 where puzzles are not told apart.
    """

    name: str
    sequence_length: int
    vocabulary: tuple[str, ...]
    puzzle_identifiers: int = 1

    def __post_init__(self) -> None:
        _check(self.sequence_length > 0, f"task.sequence_length is {self.sequence_length}, expected at least 1 token")
        _check(len(self.vocabulary) > 1, f"task.vocabulary has {len(self.vocabulary)} entries, expected at least 2")
        _check(
            self.puzzle_identifiers > 0,
            f"task.puzzle_identifiers is {self.puzzle_identifiers}, expected at least 1",
        )
        _at_most(MAX_TOKENS, task__sequence_length=self.sequence_length)
        _check(
            len(self.vocabulary) <= MAX_VOCABULARY,
            f"task.vocabulary has {len(self.vocabulary)} entries, expected at most {MAX_VOCABULARY}",
        )
        _at_most(MAX_IDENTIFIERS, task__puzzle_identifiers=self.puzzle_identifiers)


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """The network that is applied to its own output.

    Attributes:
        hidden_size: D, width of a token's vector.
        layers: layers in each network.
        networks: one network for z and y (TRM), or one each (HRM).
        latents: states beside the answer y: 1 is z (as published); 0 leaves y alone; with more, z is split into that
            many, which are updated in turn ("multi-scale z" of TRM, arXiv 2510.04871, section 4.2; no graph has it).
        mixer: how positions exchange information: an MLP over the sequence, or attention.
        heads: attention heads; unused with the MLP mixer.
        expansion: hidden width of SwiGLU over its input width, before its two-thirds and rounding.
        positions: position encoding; ``rotary`` counts tokens, ``rotary-2d`` counts rows and columns of a square grid.
        prefix_length: P, tokens before the question that carry the puzzle embedding.
        puzzle_embedding_size: E, width of a row of the puzzle-embedding table; 0 where there is none.
            Rows are padded with zeros to P * D.
        rms_norm_eps: constant inside the root of RMSNorm.
        rope_theta: base of the rotary frequencies.
    """

    hidden_size: int
    layers: int = 2
    networks: Networks = "shared"
    latents: int = 1
    mixer: Mixer = "mlp"
    heads: int = 4
    expansion: float = 4.0
    positions: Positions = "none"
    prefix_length: int = 1
    puzzle_embedding_size: int = 0
    rms_norm_eps: float = 1e-5
    rope_theta: float = 10000.0

    def __post_init__(self) -> None:
        for name in ("hidden_size", "layers", "heads"):
            _check(getattr(self, name) > 0, f"architecture.{name} is {getattr(self, name)}, expected at least 1")
        for name in ("latents", "prefix_length", "puzzle_embedding_size"):
            _check(getattr(self, name) >= 0, f"architecture.{name} is {getattr(self, name)}, expected 0 or more")
        for name in ("expansion", "rms_norm_eps", "rope_theta"):
            _check(getattr(self, name) > 0, f"architecture.{name} is {getattr(self, name)}, expected above 0")
        _at_most(MAX_WIDTH, architecture__hidden_size=self.hidden_size, architecture__heads=self.heads)
        _at_most(MAX_LAYERS, architecture__layers=self.layers, architecture__latents=self.latents)
        _at_most(MAX_TOKENS, architecture__prefix_length=self.prefix_length)
        for name, most in (("expansion", 1024), ("rms_norm_eps", 1), ("rope_theta", 1e12)):
            value = getattr(self, name)
            _check(value <= most, f"architecture.{name} is {value}, expected at most {most:g}")
        if self.mixer == "attention":
            # A head's values turn in pairs, with rows and columns in half of the pairs each.
            multiple = (4 if self.positions == "rotary-2d" else 2) * self.heads
            _check(
                self.hidden_size % multiple == 0,
                f"architecture.hidden_size is {self.hidden_size} with {self.heads} heads,"
                f" expected a multiple of {multiple}",
            )
        else:
            _check(
                self.positions in ("none", "learned"),
                f"architecture.positions is {self.positions!r} with the MLP mixer, expected 'none' or 'learned'"
                " (rotary positions act inside attention)",
            )
        room = self.prefix_length * self.hidden_size
        _check(
            self.puzzle_embedding_size <= room,
            f"architecture.puzzle_embedding_size is {self.puzzle_embedding_size},"
            f" expected at most prefix_length * hidden_size = {room}",
        )


@dataclass(frozen=True, kw_only=True)
class Recursion:
    """How often the network is applied in one supervision step.

    Attributes:
        latent: n, updates of z before y is updated once (published name: L_cycles).
        deep: T, latent recursions in a supervision step (published name: H_cycles).
    """

    latent: int
    deep: int

    def __post_init__(self) -> None:
        _check(self.latent > 0, f"recursion.latent is {self.latent}, expected at least 1")
        _check(self.deep > 0, f"recursion.deep is {self.deep}, expected at least 1")
        _at_most(MAX_RECURSIONS, recursion__latent=self.latent, recursion__deep=self.deep)

    @property
    def network_calls(self) -> int:
        """Applications of a network in one supervision step: T * (n + 1)."""
        return self.deep * (self.latent + 1)


@dataclass(frozen=True, kw_only=True)
class Halting:
    """When a sample stops.

    Attributes:
        rule: ``halt``: the halting logit is q_halt (TRM); ``halt-continue``: it is q_halt - q_continue (HRM).
        threshold: a sample halts at the first supervision step whose halting logit exceeds it.
        max_steps: maximum number of supervision steps (N_sup).
    """

    rule: HaltingRule = "halt"
    threshold: float = 0.0
    max_steps: int = 16

    def __post_init__(self) -> None:
        _check(self.max_steps > 0, f"halting.max_steps is {self.max_steps}, expected at least 1")
        _at_most(MAX_STEPS, halting__max_steps=self.max_steps)


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """All that must be known to run a model: the task, the network, its recursion and its halting."""

    task: TaskSpec
    architecture: Architecture
    recursion: Recursion
    halting: Halting = field(default_factory=Halting)

    def __post_init__(self) -> None:
        _check(
            self.architecture.latents <= self.recursion.latent,
            f"architecture.latents is {self.architecture.latents} with recursion.latent = {self.recursion.latent},"
            " expected no more latents than updates (one that is never updated says nothing)",
        )
        positions, width = self.positions, self.architecture.hidden_size
        _check(
            max(self.architecture.latents, 1) * positions * width <= MAX_STATE,
            f"architecture.hidden_size is {width} with {positions} positions: a state of {positions * width:,} values,"
            f" expected at most {MAX_STATE:,}",
        )
        length, vocabulary = self.task.sequence_length, len(self.task.vocabulary)
        _check(
            self.architecture.positions != "rotary-2d" or math.isqrt(length) ** 2 == length,
            f"architecture.positions is 'rotary-2d' with {length} tokens, expected those of a square grid",
        )
        _check(
            length * vocabulary <= MAX_STATE,
            f"task.sequence_length is {length} with a vocabulary of {vocabulary}: {length * vocabulary:,} logits,"
            f" expected at most {MAX_STATE:,}",
        )
        _check(
            self.parameters <= MAX_PARAMETERS,
            f"architecture.hidden_size is {width} with {self.architecture.layers} layers: a network of"
            f" {self.parameters:,} parameters, expected at most {MAX_PARAMETERS:,}",
        )

    @property
    def positions(self) -> int:
        """S = P + L."""
        return self.architecture.prefix_length + self.task.sequence_length

    @property
    def state_shapes(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Shapes [S, D] of one sample's y and z; z has k * S positions where it is split into k latents."""
        size = self.architecture.hidden_size
        return (self.positions, size), (max(self.architecture.latents, 1) * self.positions, size)

    @property
    def parameters(self) -> int:
        """Weights of the matrices, puzzle embeddings aside."""
        architecture, positions, width = self.architecture, self.positions, self.architecture.hidden_size
        if architecture.mixer == "mlp":
            mixer = 3 * positions * swiglu_width(positions, architecture.expansion)
        else:
            mixer = 4 * width * width
        block = mixer + 3 * width * swiglu_width(width, architecture.expansion)
        networks = architecture.layers * block * (2 if architecture.networks == "separate" else 1)
        position = positions * width if architecture.positions == "learned" else 0
        return networks + position + 2 * width * len(self.task.vocabulary) + 2 * width

    @property
    def puzzle_table_outside(self) -> bool:
        """Whether the puzzle-embedding table is too large for the graph: it is in a file beside the artefact, and the
        graph takes a sample's row instead of its number.
        """
        return self.task.puzzle_identifiers * self.architecture.puzzle_embedding_size * 4 >= LARGE_TABLE

    def to_json(self, *, indent: int | None = None) -> str:
        """JSON text; compact unless `indent` is given."""
        document = {"schema": SCHEMA, **dataclasses.asdict(self)}
        return json.dumps(document, indent=indent, separators=None if indent else (",", ":"), ensure_ascii=False)

    def model_json(self) -> str:
        """`to_json` with nothing that is a setting of a run: `tune --write` does not change it."""
        return dataclasses.replace(self, halting=dataclasses.replace(self.halting, threshold=0.0)).to_json()

    @classmethod
    def from_json(cls, text: str, *, source: str = "model spec") -> ModelSpec:
        """Read what `to_json` wrote.

        Args:
            text: the JSON text.
            source: what to call the place in messages, usually a file's name.

        Raises:
            SpecError: malformed JSON, a missing or unknown key, a wrong type, a contradiction, or a newer schema.
        """
        try:
            document = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise SpecError(f"{source}: the model spec is no valid JSON ({error})") from error
        if not isinstance(document, dict):
            raise SpecError(f"{source}: the model spec is a JSON {type(document).__name__}, expected an object")
        schema = document.pop("schema", None)
        if not isinstance(schema, int) or isinstance(schema, bool) or schema < 1:
            raise SpecError(f"{source}: the model spec has schema {shown(schema)}, expected {SCHEMA}")
        if schema > SCHEMA:
            raise SpecError(
                f"{source}: the model spec has schema {shown(schema)}, this trm-deploy reads up to {SCHEMA}",
                hint="type: pip install --upgrade trm-deploy",
            )
        try:
            return from_plain(cls, document, "spec")
        except SpecError as error:
            raise SpecError(f"{source}: {error}") from error
