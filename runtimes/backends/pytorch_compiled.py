"""The recursion through torch.compile: weights frozen into it, and machine code for one batch size each.

One latent recursion is compiled and applied T times by a plain loop. A whole supervision step as one function takes six
times as long to compile with T = 8 (72 s against 12 s), because the recursion is written out in it.
Shapes: B samples, S = P + L positions, D hidden size.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from trm_deploy.errors import CannotRunHere
from trm_deploy.models.recursive import RecursiveReasoner

# Sizes and models of one process that torch compiles a function for; beyond that it runs it uncompiled, for good.
COMPILE_LIMIT = 1024


class CompiledRecursion:
    """`RecursiveReasoner.deep_recursion`, compiled when a batch size is first seen."""

    def __init__(self, model: RecursiveReasoner) -> None:
        """Raises `CannotRunHere` where code for the processor is needed and no C++ compiler is found."""
        check_compiler(model.y_init.device.type)
        self._model = model
        self._sizes: set[int] = set()
        self._compiled: Any = torch.compile(self._latent_recursion, fullgraph=True, dynamic=False)

    def size_for(self, batch: int) -> int:
        """The batch size to fill up to: the smallest one compiled that holds the batch, else its own."""
        return min((size for size in self._sizes if size >= batch), default=batch)

    def __call__(self, x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """T latent recursions; all [B, S, D].

        Raises:
            CannotRunHere: torch cannot compile it here.
        """
        # One layout for all calls, so that a size is compiled once.
        x, y, z = x.contiguous(), y.contiguous(), z.contiguous()
        if len(x) not in self._sizes:
            self._compile(x, y, z)
            self._sizes.add(len(x))
        for _ in range(self._model.spec.recursion.deep):
            y, z = self._compiled(x, y, z)
        return y, z

    def _latent_recursion(self, x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        y, z = self._model.latent_recursion(x, y, z)
        return y.contiguous(), z.contiguous()

    def _compile(self, x: Tensor, y: Tensor, z: Tensor) -> None:
        import torch._dynamo.config as tracing
        import torch._inductor.config as inductor
        from torch._dynamo.exc import TorchDynamoException

        limits = {"recompile_limit": COMPILE_LIMIT, "accumulated_recompile_limit": COMPILE_LIMIT}
        try:
            # Freezing must be on while the function is traced: as an option of torch.compile it comes too late.
            with inductor.patch(freezing=True), tracing.patch(limits):
                self._compiled(x, y, z)
        except TorchDynamoException as error:  # what the compiler itself raises is wrapped in one of these
            raise CannotRunHere(
                f"torch.compile fails for a batch of {len(x)} ({' '.join(str(error).split())[:200]})",
                hint="leave out --compile",
            ) from error


def check_compiler(device: str) -> None:
    """Raises `CannotRunHere` where torch.compile would look for a C++ compiler in vain."""
    if device != "cpu":
        return
    from torch._inductor import cpp_builder, exc

    try:
        cpp_builder.get_cpp_compiler()
    except (exc.InvalidCxxCompiler, OSError) as error:
        raise CannotRunHere(
            "torch.compile needs a C++ compiler, and none is found here",
            hint="install one (Debian and Ubuntu: apt install g++) or leave out --compile",
        ) from error
