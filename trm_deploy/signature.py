"""The signature of a graph: the tensors that go in and come out of each graph form. The contract as code.

Everything that makes, checks, feeds or reads a graph takes names, types and shapes from here, and the table in
README.md is generated from it. B samples, L tokens, P prefix tokens, D hidden size, V vocabulary, E puzzle embedding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from trm_deploy.errors import SpecError, shown
from trm_deploy.spec import MAX_STEPS as SPEC_MAX_STEPS
from trm_deploy.spec import ModelSpec

Graph = Literal["loop", "step", "unrolled"]
Precision = Literal["fp32", "fp16", "bf16", "int8"]
DType = Literal["bool", "int32", "float32", "float16", "bfloat16"]

GRAPHS: tuple[Graph, ...] = get_args(Graph)
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
# Those that PyTorch runs a checkpoint in, the default first: int8 is a property of an exported graph.
MODEL_PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16", "fp16")

# The question: which puzzle.
TOKENS = "tokens"
PUZZLE_IDS = "puzzle_ids"
PUZZLE_EMBEDDING = "puzzle_embedding"
# Where a step starts, and where it has come to.
RESET = "reset"
Y, Z = "y", "z"
Y_NEXT, Z_NEXT = "y_next", "z_next"
# When to halt.
MAX_STEPS = "max_steps"
HALT_THRESHOLD = "halt_threshold"
# What comes out.
ANSWER = "answer"
STEPS = "steps"
HALT_LOGIT = "halt_logit"
LOGITS = "logits"

BATCH = "batch"

# y and z of a step graph. An int8 graph is float32 where it is not int8; one with static scales, for TensorRT, float16.
STATE_DTYPES: dict[Precision, DType] = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16", "int8": "float32"}


@dataclass(frozen=True)
class TensorSpec:
    """A tensor of a graph.

    Attributes:
        name: as the graph calls it.
        dtype: of its values.
        shape: () for a scalar; "batch" comes first where there is one.
    """

    name: str
    dtype: DType
    shape: tuple[int | str, ...]

    @property
    def has_batch(self) -> bool:
        """Whether it has a row a sample."""
        return bool(self.shape) and self.shape[0] == BATCH

    def __str__(self) -> str:
        return f"{self.name} {self.dtype} [{', '.join(map(str, self.shape))}]"


@dataclass(frozen=True)
class BakedLimits:
    """When a graph ends, where that is not an input but a constant of it.

    Attributes:
        max_steps: maximum number of supervision steps.
        halt_threshold: a sample halts when its halting logit exceeds it.
    """

    max_steps: int
    halt_threshold: float

    def __post_init__(self) -> None:
        if not 1 <= self.max_steps <= SPEC_MAX_STEPS:
            raise SpecError(f"limits.max_steps is {shown(self.max_steps)}, expected 1 to {SPEC_MAX_STEPS}")
        if math.isnan(self.halt_threshold):
            raise SpecError("limits.halt_threshold is not a number")


@dataclass(frozen=True)
class Signature:
    """What goes into a graph and what comes out, in the graph's order."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def __getitem__(self, name: str) -> TensorSpec:
        """The tensor of that name; raises KeyError where there is none."""
        return self.tensors[name]

    @property
    def tensors(self) -> dict[str, TensorSpec]:
        """All tensors by name."""
        return {tensor.name: tensor for tensor in (*self.inputs, *self.outputs)}


def question(spec: ModelSpec) -> tuple[TensorSpec, ...]:
    """The inputs that say which puzzle: tokens, and the puzzle's number, or its row where the table is outside."""
    found = [TensorSpec(TOKENS, "int32", (BATCH, spec.task.sequence_length))]
    if spec.puzzle_table_outside:
        found.append(TensorSpec(PUZZLE_EMBEDDING, "float32", (BATCH, spec.architecture.puzzle_embedding_size)))
    elif spec.task.puzzle_identifiers > 1:
        found.append(TensorSpec(PUZZLE_IDS, "int32", (BATCH,)))
    return tuple(found)


def signature(
    spec: ModelSpec,
    graph: Graph,
    precision: Precision = "fp32",
    *,
    state: DType | None = None,
    baked: BakedLimits | None = None,
    reset_column: bool = False,
) -> Signature:
    """The signature of a graph form.

    Args:
        spec: of the model.
        graph: the form.
        precision: of weights and activations; decides the type of the state.
        state: the type of the state where it is not the precision's (int8 with static scales: float16).
        baked: those limits that are constants of the graph, and so no inputs; None: inputs.
        reset_column: the step form takes `reset` as a column [B, 1], as Triton gives it.
    """
    length, vocabulary = spec.task.sequence_length, len(spec.task.vocabulary)
    answer = TensorSpec(ANSWER, "int32", (BATCH, length))
    halt_logit = TensorSpec(HALT_LOGIT, "float32", (BATCH,))
    logits = TensorSpec(LOGITS, "float32", (BATCH, length, vocabulary))
    if graph == "step":
        kind = state or STATE_DTYPES[precision]
        y_shape, z_shape = ((BATCH, *shape) for shape in spec.state_shapes)
        return Signature(
            (
                *question(spec),
                TensorSpec(RESET, "bool", (BATCH, 1) if reset_column else (BATCH,)),
                TensorSpec(Y, kind, y_shape),
                TensorSpec(Z, kind, z_shape),
            ),
            (TensorSpec(Y_NEXT, kind, y_shape), TensorSpec(Z_NEXT, kind, z_shape), answer, halt_logit, logits),
        )
    threshold = TensorSpec(HALT_THRESHOLD, "float32", ())
    scalars = (TensorSpec(MAX_STEPS, "int32", ()), threshold) if graph == "loop" else (threshold,)
    steps = TensorSpec(STEPS, "int32", (BATCH,))
    inputs = (*question(spec), *(scalars if baked is None else ()))
    return Signature(inputs, (answer, steps, halt_logit, logits))
