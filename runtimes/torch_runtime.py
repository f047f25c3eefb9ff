"""Runs a checkpoint in PyTorch: the reference that every other runtime is compared with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trm_deploy.errors import CannotRunHere, require
from trm_deploy.runtimes.base import Device, Int32, Solution, StepResult, check_inputs
from trm_deploy.spec import ModelSpec


class TorchRuntime:
    """A reasoner in PyTorch, float32. Halted samples leave the batch, so they cost nothing."""

    fixed_steps = None
    precision = "fp32"
    largest_batch = None

    def __init__(self, model: Any, *, device: Device = "cpu") -> None:
        torch = require("torch", extra="export", purpose="to run a checkpoint")
        if device == "cuda" and not torch.cuda.is_available():
            raise CannotRunHere("PyTorch finds no CUDA device here", hint="leave out --device cuda")
        self._torch = torch
        self._device = device
        self._model = model.to(device)

    @classmethod
    def from_file(cls, path: Path, *, device: Device = "cpu") -> TorchRuntime:
        """Load a checkpoint; raises `CheckpointError` where it cannot be read."""
        require("torch", extra="export", purpose=f"to run the checkpoint {path}")
        from trm_deploy import checkpoint

        return cls(checkpoint.load(path).model(), device=device)

    @property
    def spec(self) -> ModelSpec:
        """What the model is."""
        return self._model.spec  # type: ignore[no-any-return]

    @property
    def description(self) -> str:
        """For tables."""
        return "PyTorch fp32"

    def solve(
        self, tokens: Int32, puzzle_ids: Int32 | None = None, *, max_steps: int, halt_threshold: float
    ) -> Solution:
        """See `Runtime.solve`."""
        from trm_deploy.models.solve import solve

        check_inputs(self.spec, tokens, puzzle_ids, max_steps)
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
        """See `StepRuntime.step`; the state stays a tensor on the device."""
        torch = self._torch
        check_inputs(self.spec, tokens, puzzle_ids, 1)
        with torch.inference_mode():
            fresh = self._tensor(reset)[:, None, None]
            y_init, z_init = self._model.initial_state(len(tokens))
            y = torch.where(fresh, y_init, self._tensor(y))
            z = torch.where(fresh, z_init, self._tensor(z))
            ids = None if puzzle_ids is None else self._tensor(puzzle_ids)
            out = self._model.step(self._tensor(tokens), y, z, ids)
            answer = out.logits.argmax(-1).to(torch.int32)
        return StepResult(out.y, out.z, *(part.cpu().numpy() for part in (answer, out.halt_logit, out.logits)))

    def _tensor(self, array: Any) -> Any:
        if not isinstance(array, self._torch.Tensor):
            array = np.asarray(array)  # another runtime's state may lie on its device
        return self._torch.as_tensor(array, device=self._device)
