"""Runs a checkpoint in PyTorch. In float32, not compiled, it is the reference that every other runtime is compared
with.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trm_deploy.errors import CannotRunHere, InputError, require
from trm_deploy.runtimes import registry
from trm_deploy.runtimes.base import Device, Int32, LoadOptions, Solution, StepResult, check_inputs, check_step
from trm_deploy.runtimes.host_loop import solve_by_steps
from trm_deploy.signature import Graph, Precision
from trm_deploy.spec import ModelSpec

NAME = "torch"


def load(path: Path, options: LoadOptions) -> TorchRuntime:
    """Load a checkpoint; raises `CheckpointError` where it cannot be read."""
    require("torch", extra="export", purpose=f"to run the checkpoint {path}")
    from trm_deploy import checkpoints

    model = checkpoints.load(path, options.overrides).model()
    precision = options.precision or "fp32"
    return TorchRuntime(model, device=options.device, precision=precision, compiled=options.compiled)


class TorchRuntime:
    """A reasoner in PyTorch. Halted samples leave the batch, so they cost nothing, unless it is compiled: then a batch
    keeps its size.
    """

    backend = NAME
    graph: Graph = "step"
    fixed_steps = None
    baked = None
    smallest_batch = 1
    largest_batch = None

    def __init__(
        self, model: Any, *, device: Device = "cpu", precision: Precision = "fp32", compiled: bool = False
    ) -> None:
        """Cast, move and prepare a model.

        Args:
            model: float32.
            device: where to run.
            precision: of weights, activations and state; see `trm_deploy.models.precision`.
            compiled: through torch.compile, for each batch size that comes; see `pytorch_compiled`.

        Raises:
            InputError: a precision that PyTorch does not run.
            CannotRunHere: no such device, or no compiler.
        """
        torch = require("torch", extra="export", purpose="to run a checkpoint")
        precisions = registry.get(NAME).precisions
        if precision not in precisions:
            raise InputError(
                f"--precision is {precision}, expected one of {', '.join(precisions)} for a checkpoint",
                hint="export it: trm-deploy export CHECKPOINT --precision int8",
            )
        if device == "cuda" and not torch.cuda.is_available():
            raise CannotRunHere("PyTorch finds no CUDA device here", hint="leave out --device cuda")
        from trm_deploy.models.precision import DTYPES, cast

        self._torch = torch
        self._device = device
        narrowed = cast(model, precision)
        # `to` moves a module in place: the caller's stays where it is.
        elsewhere = narrowed is model and any(part.device.type != device for part in model.parameters())
        self._model = (copy.deepcopy(model) if elsewhere else narrowed).to(device)
        self._dtype = DTYPES[precision]
        self._compiled: Any = None
        if compiled:
            from trm_deploy.runtimes.backends.pytorch_compiled import CompiledRecursion

            self._compiled = CompiledRecursion(self._model)
        self.precision: str = precision
        self.arithmetic: str = precision
        self.description = f"{registry.get(NAME).title} {'compiled ' if compiled else ''}{precision}"

    @property
    def model(self) -> Any:
        """The `RecursiveReasoner` that it runs, cast and moved."""
        return self._model

    @property
    def spec(self) -> ModelSpec:
        """What the model is."""
        return self._model.spec

    def solve(
        self, tokens: Int32, puzzle_ids: Int32 | None = None, *, max_steps: int, halt_threshold: float
    ) -> Solution:
        """See `Runtime.solve`."""
        from trm_deploy.models.solve import solve

        check_inputs(self.spec, tokens, puzzle_ids, max_steps)
        if self._compiled is not None:
            return solve_by_steps(self, tokens, puzzle_ids, max_steps=max_steps, halt_threshold=halt_threshold)
        out = solve(
            self._model,
            self._tensor(tokens),
            None if puzzle_ids is None else self._tensor(puzzle_ids),
            max_steps=max_steps,
            halt_threshold=halt_threshold,
        )
        return Solution(*(part.cpu().numpy() for part in (out.answer, out.steps, out.halt_logit, out.logits)))

    def step(
        self, tokens: Int32, reset: NDArray[np.bool_], y: Any, z: Any, puzzle_ids: Int32 | None = None
    ) -> StepResult:
        """See `StepRuntime.step`; the state stays a tensor on the device, in the runtime's precision."""
        torch, model, batch = self._torch, self._model, len(tokens)
        check_inputs(self.spec, tokens, puzzle_ids, 1)
        check_step(self.spec, batch, reset, y, z)
        with torch.inference_mode():
            fresh = self._tensor(reset)[:, None, None]
            y_init, z_init = model.initial_state(batch)
            y = torch.where(fresh, y_init, self._state(y))
            z = torch.where(fresh, z_init, self._state(z))
            x = model.embed(self._tensor(tokens), None if puzzle_ids is None else self._tensor(puzzle_ids))
            y, z = self._deep_recursion(x, y, z)
            logits, halt_logit, _ = model.heads(y)
            answer = logits.argmax(-1).to(torch.int32)
        return StepResult(y, z, *(part.cpu().numpy() for part in (answer, halt_logit, logits)))

    def _deep_recursion(self, *states: Any) -> tuple[Any, Any]:
        """x, y and z [B, S, D] -> y and z."""
        if self._compiled is None:
            return self._model.deep_recursion(*states)
        batch = len(states[0])
        lacking = self._compiled.size_for(batch) - batch
        if lacking:
            # Copies of the last row: no row is computed from another, and these are thrown away.
            states = tuple(self._torch.cat((state, state[-1:].expand(lacking, -1, -1))) for state in states)
        y, z = self._compiled(*states)
        return y[:batch], z[:batch]

    def _state(self, array: Any) -> Any:
        return self._tensor(array).to(self._dtype)

    def _tensor(self, array: Any) -> Any:
        if not isinstance(array, self._torch.Tensor):
            array = np.asarray(array)  # another runtime's state may be on its device
        return self._torch.as_tensor(array, device=self._device)
