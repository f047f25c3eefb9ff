"""The runtime protocol: numpy in, numpy out. B samples, L tokens, S = P + L positions, D hidden size, V vocabulary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from trm_deploy.errors import InputError
from trm_deploy.signature import BakedLimits, Graph, Precision, Y, Z
from trm_deploy.spec import MAX_STEPS, ModelSpec
from trm_deploy.support.machine import Device as Device

Int32 = NDArray[np.int32]
Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class LoadOptions:
    """How an artefact is loaded.

    Attributes:
        device: where to run it; a plan always runs on the GPU.
        allow_host_code: load a version-compatible plan, which carries code for this machine's processor.
        precision: of a checkpoint, float32 where None; an exported file has its own.
        compiled: run a checkpoint through torch.compile.
        overrides: of a checkpoint: KEY=VALUE, what a published one does not say of itself.
    """

    device: Device = "cpu"
    allow_host_code: bool = False
    precision: Precision | None = None
    compiled: bool = False
    overrides: tuple[str, ...] = ()


@dataclass(frozen=True)
class Solution:
    """Each sample as it stood at the supervision step at which it halted, or at the last one."""

    answer: Int32  # [B, L]
    steps: Int32  # [B], from 1
    halt_logit: Float32  # [B]; above the threshold where the sample halted
    logits: Float32  # [B, L, V]


@dataclass(frozen=True)
class StepResult:
    """What one supervision step gives.

    All but the halting logit may stay on the runtime's device: handles, to be passed on (y, z) or read.
    """

    y: Any  # [B, S, D]
    z: Any  # [B, S, D]
    answer: Any  # int32 [B, L]
    halt_logit: Float32  # [B]
    logits: Any  # float32 [B, L, V]


class Runtime(Protocol):
    """Runs an artefact from questions to answers."""

    @property
    def spec(self) -> ModelSpec:
        """What the model is."""

    @property
    def backend(self) -> str:
        """The name of its row in `trm_deploy.runtimes.registry`."""

    @property
    def graph(self) -> Graph:
        """The graph form; "step" for PyTorch, which runs a checkpoint step by step."""

    @property
    def precision(self) -> str:
        """Of weights and activations, as the flag names it."""

    @property
    def arithmetic(self) -> str:
        """What matrix products are really computed in, in words: some runtimes only store values in the precision."""

    @property
    def description(self) -> str:
        """Runtime, graph form and precision, for tables."""

    @property
    def fixed_steps(self) -> int | None:
        """The step limit built into the artefact (unrolled, or limits baked in); None where `max_steps` is free."""

    @property
    def baked(self) -> BakedLimits | None:
        """Step limit and halting threshold, where both are constants of the graph."""

    @property
    def smallest_batch(self) -> int:
        """Samples that a call computes at the least: where there are fewer, it is filled up."""

    @property
    def largest_batch(self) -> int | None:
        """Maximum number of samples in a single step; None where any number. `solve` takes any number."""

    def solve(
        self, tokens: Int32, puzzle_ids: Int32 | None = None, *, max_steps: int, halt_threshold: float
    ) -> Solution:
        """Supervision steps until every sample has halted or `max_steps` are done.

        Args:
            tokens: int32 [B, L], B at least 1.
            puzzle_ids: int32 [B]; puzzle 0 for every sample where None.
            max_steps: at least 1.
            halt_threshold: a sample halts when its halting logit exceeds it; +inf never halts.

        Raises:
            InputError: a wrong dtype or shape, or a step limit that the artefact cannot keep.
        """


@runtime_checkable
class StepRuntime(Runtime, Protocol):
    """A runtime that can also do single supervision steps, with the state kept on its device."""

    def step(
        self, tokens: Int32, reset: NDArray[np.bool_], y: Any, z: Any, puzzle_ids: Int32 | None = None
    ) -> StepResult:
        """One supervision step.

        Args:
            tokens: int32 [B, L].
            reset: bool [B]; such a row starts from the initial state, whatever y and z hold.
            y, z: [B, S, D], from numpy (float32) or from the last `StepResult`.
            puzzle_ids: int32 [B]; puzzle 0 for every sample where None.

        Raises:
            InputError: a wrong dtype or shape, or more samples than `largest_batch`.
        """


def check_inputs(spec: ModelSpec, tokens: Int32, puzzle_ids: Int32 | None, max_steps: int) -> None:
    """Refuse what a runtime would choke on or, worse, compute with."""
    length, vocabulary = spec.task.sequence_length, len(spec.task.vocabulary)
    if tokens.dtype != np.int32 or tokens.ndim != 2 or tokens.shape[1] != length or not len(tokens):
        raise InputError(f"tokens are {tokens.dtype} {list(tokens.shape)}, expected int32 [B, {length}] with B >= 1")
    if tokens.min() < 0 or tokens.max() >= vocabulary:
        raise InputError(f"tokens range from {tokens.min()} to {tokens.max()}, expected 0 to {vocabulary - 1}")
    if not 1 <= max_steps <= MAX_STEPS:
        raise InputError(f"max_steps is {max_steps}, expected 1 to {MAX_STEPS:,}")
    if puzzle_ids is not None:
        identifiers = spec.task.puzzle_identifiers
        if puzzle_ids.dtype != np.int32 or puzzle_ids.shape != tokens.shape[:1]:
            raise InputError(
                f"puzzle_ids are {puzzle_ids.dtype} {list(puzzle_ids.shape)}, expected int32 [{len(tokens)}]"
            )
        if puzzle_ids.min() < 0 or puzzle_ids.max() >= identifiers:
            raise InputError(
                f"puzzle_ids range from {puzzle_ids.min()} to {puzzle_ids.max()}, expected 0 to {identifiers - 1}"
            )


def check_step(spec: ModelSpec, batch: int, reset: NDArray[np.bool_], y: Any, z: Any) -> None:
    """Refuse a state that does not belong to a batch; one that is on a device is the runtime's own."""
    if reset.dtype != np.bool_ or reset.shape != (batch,):
        raise InputError(f"reset is {reset.dtype} {list(reset.shape)}, expected bool [{batch}]")
    for name, value, shape in zip((Y, Z), (y, z), spec.state_shapes):
        if isinstance(value, np.ndarray) and value.shape != (batch, *shape):
            raise InputError(f"the state {name} is {list(value.shape)}, expected {[batch, *shape]}")


def graph_in_words(graph: str, steps: int | None, baked: BakedLimits | None = None) -> str:
    """A graph form, with the number of steps where it is the unrolled one, and the limits that are its constants."""
    if baked is None:
        return graph if steps is None else f"{graph}, {steps} steps"
    return f"{graph}, {baked.max_steps} steps and threshold {baked.halt_threshold:g} baked in"


def fixed_in_words(runtime: Runtime) -> str:
    """What a runtime is whose step limit is fixed."""
    if runtime.baked is not None:
        return f"has its limit of {runtime.fixed_steps} steps baked in"
    return f"is unrolled to {runtime.fixed_steps} steps"


def check_step_limit(fixed_steps: int | None, max_steps: int, baked: BakedLimits | None = None) -> None:
    """Refuse a step limit that an unrolled artefact, or one with its limits baked in, cannot keep."""
    if fixed_steps not in (None, max_steps):
        if baked is not None:
            raise InputError(
                f"max_steps is {max_steps}, but this engine has its limit of {fixed_steps} steps baked in",
                hint=f"use --max-steps {fixed_steps}, or export without --bake-limits",
            )
        raise InputError(
            f"max_steps is {max_steps}, but this engine is unrolled to {fixed_steps} steps",
            hint=f"use --max-steps {fixed_steps}, or export with --graph loop",
        )


def check_threshold(baked: BakedLimits | None, halt_threshold: float) -> None:
    """Refuse a halting threshold other than the one that is baked in."""
    if baked is not None and halt_threshold != baked.halt_threshold:
        raise InputError(
            f"the halting threshold is {halt_threshold:g}, but this engine has {baked.halt_threshold:g} baked in",
            hint=f"use --halt-threshold {baked.halt_threshold:g}, or export without --bake-limits",
        )


def initial_numpy_state(spec: ModelSpec, batch: int) -> tuple[Float32, Float32]:
    """Placeholders for y [B, S, D] and z [B, S, D] (where it is split into k latents: [B, k * S, D]), float32, of rows
    that are all `reset`.
    """
    y_shape, z_shape = spec.state_shapes
    return np.zeros((batch, *y_shape), np.float32), np.zeros((batch, *z_shape), np.float32)


def host_values(result: Any) -> NDArray[Any]:
    """A result's values: numpy has no way to PyTorch's tensors on a GPU, and knows no bfloat16."""
    return np.asarray(result.cpu().float() if hasattr(result, "cpu") else result)
