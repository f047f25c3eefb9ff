"""Runs a graph, whatever computes it: solve, step, feeds and checks are here, and a back end brings a `Session`.

B samples, L tokens, S positions, D hidden size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from trm_deploy.artefacts import embeddings
from trm_deploy.errors import ArtefactError, InputError
from trm_deploy.runtimes import registry
from trm_deploy.runtimes.base import (
    Float32,
    Int32,
    Solution,
    StepResult,
    check_inputs,
    check_step,
    check_step_limit,
    check_threshold,
    graph_in_words,
)
from trm_deploy.runtimes.host_loop import solve_by_steps, solve_in_batches
from trm_deploy.signature import (
    ANSWER,
    HALT_LOGIT,
    HALT_THRESHOLD,
    LOGITS,
    MAX_STEPS,
    PRECISIONS,
    PUZZLE_EMBEDDING,
    PUZZLE_IDS,
    RESET,
    STATE_DTYPES,
    STEPS,
    TOKENS,
    Y_NEXT,
    Z_NEXT,
    BakedLimits,
    DType,
    Graph,
    Signature,
    TensorSpec,
    Y,
    Z,
    signature,
)
from trm_deploy.spec import ModelSpec

# numpy has no bfloat16: such values come and go as float32.
NUMPY: dict[DType, type[np.generic]] = {
    "bool": np.bool_,
    "int32": np.int32,
    "float32": np.float32,
    "float16": np.float16,
    "bfloat16": np.float32,
}
# As ONNX calls the types.
ONNX_TYPES: dict[DType, str] = {
    "bool": "tensor(bool)",
    "int32": "tensor(int32)",
    "float32": "tensor(float)",
    "float16": "tensor(float16)",
    "bfloat16": "tensor(bfloat16)",
}


class Session(Protocol):
    """A graph that a back end has loaded."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What the back end found in the file; a free size is "batch"."""

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """As `inputs`."""

    @property
    def smallest_batch(self) -> int:
        """Samples that a run computes at the least."""

    @property
    def largest_batch(self) -> int | None:
        """Maximum number of samples in one run; None where any number."""

    def run(self, feeds: Mapping[str, Any]) -> Mapping[str, Any]:
        """Run the graph once.

        Args:
            feeds: for each input an array of the type in `NUMPY`. In the place of y and z also what an earlier run of
                this session gave as y_next and z_next.

        Returns:
            Each output, as anything that `numpy.asarray` reads: it may stay on the device until then.

        Raises:
            TrmDeployError: the graph cannot be run; names the file.
        """


@dataclass(frozen=True)
class LoadedGraph:
    """What is known of a graph beside its session.

    Attributes:
        path: of the artefact.
        spec: what the model is.
        graph: the form.
        steps: of the unrolled form; None elsewhere, or where the file does not tell.
        precision: of weights and activations; "unknown" where the file does not tell.
        backend: name of the row in `trm_deploy.runtimes.registry`.
        title: of what computes, for tables.
        arithmetic: see `Runtime.arithmetic`.
        baked: limits that are constants of the graph; None where they are inputs.
        format: that `trm-deploy export --format` writes such a file as.
    """

    path: Path
    spec: ModelSpec
    graph: Graph
    steps: int | None
    precision: str
    backend: str
    title: str
    arithmetic: str
    baked: BakedLimits | None = None
    format: str = "onnx"


def open_graph(session: Session, loaded: LoadedGraph) -> GraphRuntime:
    """The runtime of a session: a `GraphStepRuntime` where it is the step form.

    Raises:
        ArtefactError: a precision that the back end does not run, inputs or outputs that are not those of the model
            that the file's spec tells of, or the file with its puzzle embeddings is missing.
    """
    precisions = registry.get(loaded.backend).precisions
    if loaded.precision not in (*precisions, "unknown"):
        raise ArtefactError(
            f"{loaded.path}: has the precision {loaded.precision!r}, expected one of {', '.join(precisions)}"
        )
    expected = expected_signature(session, loaded)
    check_signature(session, expected, loaded)
    table = embeddings.open_table(loaded.path, loaded.spec)
    kind = GraphStepRuntime if loaded.graph == "step" else GraphRuntime
    return kind(session, loaded, expected, table)


def expected_signature(session: Session, loaded: LoadedGraph) -> Signature:
    """The signature that the file should have.

    The type of the state follows from the precision where that is fp32 or fp16. Elsewhere it is what the session found,
    if a state has that type at all: int8 and bf16 have two forms (the check after an export runs a bf16 graph in
    float32), and of a plan the precision may be unknown. A step form for Triton takes `reset` as a column.
    """
    spec, graph = loaded.spec, loaded.graph
    column = any(tensor.name == RESET and len(tensor.shape) == 2 for tensor in session.inputs)
    for precision in PRECISIONS:
        if precision == loaded.precision and precision in ("fp32", "fp16"):
            return signature(spec, graph, precision, baked=loaded.baked, reset_column=column)
    found = next((tensor.dtype for tensor in session.inputs if tensor.name == Y), None)
    state = found if found in STATE_DTYPES.values() else None
    return signature(spec, graph, state=state, baked=loaded.baked, reset_column=column)


def check_signature(session: Session, expected: Signature, loaded: LoadedGraph) -> None:
    """Refuse a graph whose inputs and outputs are not those that its spec tells of; more outputs do no harm."""
    for found, wanted in ((session.inputs, expected.inputs), (session.outputs, expected.outputs)):
        by_name = {tensor.name: tensor for tensor in found}
        for tensor in wanted:
            came = by_name.get(tensor.name)
            # The batch may be called anything, and a plan of one size has a number there.
            if came is None or (came.dtype, len(came.shape), came.shape[1:]) != (
                tensor.dtype,
                len(tensor.shape),
                tensor.shape[1:],
            ):
                raise ArtefactError(
                    f"{loaded.path}: the graph has {came or f'no {tensor.name}'}, its spec expects {tensor}",
                    hint=f"type: trm-deploy export CHECKPOINT --format {loaded.format}",
                )
    unknown = {tensor.name for tensor in session.inputs} - {tensor.name for tensor in expected.inputs}
    if unknown:
        raise ArtefactError(
            f"{loaded.path}: the graph has an input {min(unknown)!r} that its spec does not tell of, expected"
            f" {', '.join(tensor.name for tensor in expected.inputs)}",
            hint=f"type: trm-deploy export CHECKPOINT --format {loaded.format}",
        )


class GraphRuntime:
    """A graph of the loop or unrolled form; see `Runtime` for its attributes."""

    def __init__(self, session: Session, loaded: LoadedGraph, expected: Signature, table: Float32 | None) -> None:
        self.session = session
        self._signature = expected
        self._table = table  # of puzzle embeddings, where it is not in the graph
        self.spec = loaded.spec
        self.backend = loaded.backend
        self.graph: Graph = loaded.graph
        self.precision = loaded.precision
        self.arithmetic = loaded.arithmetic
        self.description = f"{loaded.title} {loaded.graph} {loaded.precision}"
        # A graph of one batch size takes no other: smaller batches are filled up, larger ones split.
        size = next(tensor.shape[0] for tensor in session.inputs if tensor.name == TOKENS)
        self._batch = None if isinstance(size, str) else size
        self.smallest_batch = self._batch or session.smallest_batch
        self.largest_batch = self._batch or session.largest_batch
        self.baked = loaded.baked
        self.fixed_steps = loaded.baked.max_steps if loaded.baked else loaded.steps
        if loaded.graph == "unrolled" and loaded.steps is None:
            self.fixed_steps = self._count_steps()

    def _count_steps(self) -> int:
        """Steps of the unrolled form: with halting off, every sample takes them all."""
        tokens = np.zeros((1, self.spec.task.sequence_length), np.int32)
        return int(self._solve(tokens, max_steps=1, halt_threshold=np.inf).steps[0])

    def details(self) -> dict[str, Any]:
        """What the file says of its graph, as plain values."""

        def in_words(tensors: tuple[TensorSpec, ...]) -> list[str]:
            return [f"{tensor.name} {ONNX_TYPES[tensor.dtype]} {list(tensor.shape)}" for tensor in tensors]

        return {
            "graph": graph_in_words(self.graph, self.fixed_steps, self.baked),
            "precision": self.precision,
            "inputs": in_words(self.session.inputs),
            "outputs": in_words(self.session.outputs),
        }

    def solve(
        self, tokens: Int32, puzzle_ids: Int32 | None = None, *, max_steps: int, halt_threshold: float
    ) -> Solution:
        """See `Runtime.solve`; a batch that is larger than the session takes is split."""
        check_inputs(self.spec, tokens, puzzle_ids, max_steps)
        check_step_limit(self.fixed_steps, max_steps, self.baked)
        check_threshold(self.baked, halt_threshold)
        return solve_in_batches(
            self._solve,
            tokens,
            puzzle_ids,
            batch_size=self.largest_batch or len(tokens),
            max_steps=max_steps,
            halt_threshold=halt_threshold,
        )

    def _solve(
        self, tokens: Int32, puzzle_ids: Int32 | None = None, *, max_steps: int, halt_threshold: float
    ) -> Solution:
        """One run."""
        limits = {MAX_STEPS: np.array(max_steps, np.int32), HALT_THRESHOLD: np.array(halt_threshold, np.float32)}
        outputs = self.session.run(self._feeds({**self._question(tokens, puzzle_ids), **limits}))
        return Solution(*(np.asarray(outputs[name])[: len(tokens)] for name in (ANSWER, STEPS, HALT_LOGIT, LOGITS)))

    def _question(self, tokens: Int32, puzzle_ids: Int32 | None) -> dict[str, NDArray[Any]]:
        """Everything that says which puzzle; puzzle 0 where no ids are given."""
        if self._table is not None:
            return {TOKENS: tokens, PUZZLE_EMBEDDING: embeddings.rows(self._table, puzzle_ids, len(tokens))}
        return {TOKENS: tokens, PUZZLE_IDS: np.zeros(len(tokens), np.int32) if puzzle_ids is None else puzzle_ids}

    def _feeds(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Of these values those that the graph takes, filled up to its batch size where it has but one."""
        return {tensor.name: self._filled(values[tensor.name]) for tensor in self._signature.inputs}

    def _filled(self, value: Any) -> Any:
        """Rows up to the graph's batch size, the last one repeated; what is on the device has them already."""
        if self._batch is None or not isinstance(value, np.ndarray) or not value.ndim or len(value) == self._batch:
            return value
        return np.concatenate([value, np.repeat(value[-1:], self._batch - len(value), axis=0)])


@dataclass(frozen=True)
class State:
    """A result of a step, or its first `rows`, where the session left it; `numpy.asarray` brings it to the host."""

    session: Session
    value: Any
    rows: int | None = None

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self.value, dtype)[: self.rows]


class GraphStepRuntime(GraphRuntime):
    """The step form: also single steps, and `solve` by a loop on the host."""

    def _solve(
        self, tokens: Int32, puzzle_ids: Int32 | None = None, *, max_steps: int, halt_threshold: float
    ) -> Solution:
        return solve_by_steps(self, tokens, puzzle_ids, max_steps=max_steps, halt_threshold=halt_threshold)

    def step(
        self, tokens: Int32, reset: NDArray[np.bool_], y: Any, z: Any, puzzle_ids: Int32 | None = None
    ) -> StepResult:
        """See `StepRuntime.step`."""
        check_inputs(self.spec, tokens, puzzle_ids, 1)
        check_step(self.spec, len(tokens), reset, y, z)
        if self.largest_batch is not None and len(tokens) > self.largest_batch:
            raise InputError(
                f"the batch has {len(tokens)} samples, this engine takes up to {self.largest_batch} a step"
            )
        column = len(self._signature[RESET].shape) == 2
        given = reset[:, None] if column else reset
        values = {**self._question(tokens, puzzle_ids), RESET: given, Y: self._state(Y, y), Z: self._state(Z, z)}
        outputs = self.session.run(self._feeds(values))
        rows = len(tokens)
        # Handles of the session's own, but for the rows that filled the batch up.
        answer, logits = (
            outputs[name] if self._batch in (None, rows) else State(self.session, outputs[name], rows)
            for name in (ANSWER, LOGITS)
        )
        return StepResult(
            State(self.session, outputs[Y_NEXT], rows),
            State(self.session, outputs[Z_NEXT], rows),
            answer,
            np.asarray(outputs[HALT_LOGIT])[:rows],
            logits,
        )

    def _state(self, name: str, value: Any) -> Any:
        """What this session left on its device as it is, anything else as an array of the input's type."""
        if isinstance(value, State) and value.session is self.session:
            return value.value
        return np.ascontiguousarray(value, NUMPY[self._signature[name].dtype])
