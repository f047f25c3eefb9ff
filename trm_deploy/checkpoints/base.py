"""What every reader of checkpoints gives: a spec with the weights that fit it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from trm_deploy.errors import CheckpointError
from trm_deploy.models.recursive import RecursiveReasoner
from trm_deploy.spec import ModelSpec


@dataclass(frozen=True)
class Checkpoint:
    """A model and what made it.

    Attributes:
        spec: what the model is.
        ema: state dict of the averaged weights, float32 on the CPU.
        training: plain values: steps, recipe, seed.
        sha256: of the file it was read from; empty for one that was not.
        source: what to call it in messages.
        settings: of a published checkpoint: each setting with its value and where it comes from, to be shown.
        overrides: KEY=VALUE that it was read with, to read it again.
        contradictions: what of these says otherwise than the files beside it, in words.
    """

    spec: ModelSpec
    ema: dict[str, Tensor]
    training: dict[str, Any] = field(default_factory=dict)
    sha256: str = ""
    source: str = "checkpoint"
    settings: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    contradictions: tuple[str, ...] = ()

    def model(self) -> RecursiveReasoner:
        """The model with these weights, in evaluation mode on the CPU.

        A puzzle table that stays outside the graph is shared with this checkpoint, not copied.

        Raises:
            CheckpointError: a weight is missing, left over or of another shape than the spec says.
        """
        check_weights(self.spec, self.ema, self.source)
        weights = dict(self.ema)
        model = RecursiveReasoner(self.spec, table=weights.pop("puzzles") if self.spec.puzzle_table_outside else None)
        model.load_state_dict(weights)
        return model.eval().requires_grad_(False)


def first_difference(before: Checkpoint, after: Checkpoint) -> str:
    """What of two checkpoints' models is not the same bit for bit, in words; empty where nothing is."""
    if before.spec != after.spec:
        return "another spec"
    if before.ema.keys() != after.ema.keys():
        return "other weights"
    for name, tensor in before.ema.items():
        other = after.ema[name]
        if (other.dtype, other.shape) != (tensor.dtype, tensor.shape) or not torch.equal(_bytes(other), _bytes(tensor)):
            return f"another {name}"
    return ""


def _bytes(tensor: Tensor) -> Tensor:
    return tensor.contiguous().view(torch.uint8)


class _WithoutRandomWeights(TorchFunctionMode):
    """Modules are made without the random numbers of `torch.nn.init`.

    On the meta device there are no numbers, but asking for random ones imports torch's whole compiler: a second.
    """

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(function, "__module__", "") == nn.init.__name__:
            return kwargs["tensor"] if kwargs and "tensor" in kwargs else args[0]
        return function(*args, **(kwargs or {}))


def check_weights(
    spec: ModelSpec, weights: Mapping[str, Tensor], source: str, called: Callable[[str], str] = str
) -> None:
    """Compare weights with the shapes that a spec expects.

    Args:
        spec: of the model.
        weights: state dict.
        source: what to call it in messages.
        called: gives a weight's name in the file, where it is not ours.

    Raises:
        CheckpointError: a weight is missing, left over or of another shape than the spec says.
    """
    with torch.device("meta"), _WithoutRandomWeights():
        expected = RecursiveReasoner(spec).state_dict()
    for name in sorted(expected.keys() | weights.keys()):
        title = called(name)
        if name not in weights:
            raise CheckpointError(
                f"{source}: the weight {title} is missing, its spec expects {list(expected[name].shape)}"
            )
        if name not in expected:
            raise CheckpointError(f"{source}: the weight {title} {list(weights[name].shape)} has no place in its spec")
        if not weights[name].is_floating_point():
            raise CheckpointError(f"{source}: the weight {title} is {weights[name].dtype}, expected floating point")
        if weights[name].shape != expected[name].shape:
            raise CheckpointError(
                f"{source}: the weight {title} has the shape {list(weights[name].shape)},"
                f" its spec expects {list(expected[name].shape)}"
            )
