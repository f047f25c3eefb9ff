"""torch.profiler: operators by the part of the model that calls them, each part a range of the profile."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function

from trm_deploy.artefacts.layer_groups import CHANNELS, EMBEDDING, HEADS, NORMS, RECURSION, TOKENS
from trm_deploy.errors import InputError
from trm_deploy.models.layers import Block, MlpMixer
from trm_deploy.runtimes.backends import pytorch
from trm_deploy.runtimes.base import LoadOptions
from trm_deploy.runtimes.profiling.base import Layer, ProfiledRun, timed

# Above every level that Kineto, PyTorch's profiler, has.
QUIET = "99"
# Begins the names of our ranges, so that no operator is taken for one.
RANGE = "layer group: "


def load(path: Path, options: LoadOptions) -> TorchProfiler:
    """Load a checkpoint; raises what `trm_deploy.runtimes.backends.pytorch.load` does.

    Raises:
        InputError: compiled, which fuses the parts that are to be told apart.
    """
    if options.compiled:
        raise InputError("--compile: its kernels are fused across layer groups", hint="leave out --compile")
    return TorchProfiler(path, options)


class TorchProfiler:
    """See `trm_deploy.runtimes.profiling.base.Profiler`."""

    method = "torch.profiler"

    def __init__(self, path: Path, options: LoadOptions) -> None:
        # Else it announces the beginning and the end of each profile on stderr.
        os.environ.setdefault("KINETO_LOG_LEVEL", QUIET)
        self.runtime = pytorch.load(path, options)
        self._on_gpu = options.device == "cuda"
        mark(self.runtime.model)

    def measure(self, run: Callable[[], None], count: int) -> list[ProfiledRun]:
        """See `Profiler.measure`."""
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if self._on_gpu else [])]
        found = []
        for _ in range(count):
            with profile(activities=activities) as recorded:
                wall = timed(run)
            found.append(ProfiledRun(wall, self._layers(recorded.events())))
        return found

    def _layers(self, events: Any) -> dict[Layer, float]:
        times: dict[Layer, float] = defaultdict(float)
        for event in events:
            if event.key.startswith(RANGE) or event.device_type.name != "CPU":
                continue  # what a range spends itself is Python's time; kernels are counted with their operators
            spent = event.self_device_time_total if self._on_gpu else event.self_cpu_time_total
            operator = event.key.rpartition("::")[2]
            group = _group_of(event)
            times[Layer(f"{group}: {operator}", operator, group=group)] += spent / 1e3
        return dict(times)


def _group_of(event: Any) -> str:
    while event is not None:
        if event.key.startswith(RANGE):
            return str(event.key.removeprefix(RANGE))
        event = event.cpu_parent
    return RECURSION  # states, masks, the answer's way to the host


def mark(model: Any) -> None:
    """Have the parts of a model record themselves as ranges of a profile.

    Args:
        model: a `RecursiveReasoner`, changed for good.
    """
    for method, group in (("embed", EMBEDDING), ("heads", HEADS)):
        setattr(model, method, _recorded(getattr(model, method), group))
    for block in model.modules():
        if not isinstance(block, Block):
            continue
        # After the last product of a mixer come the addition and the norm, until the mixer or the block ends.
        mixer = block.mixer
        last: Any = mixer.mlp if isinstance(mixer, MlpMixer) else mixer.out
        _range(mixer, last, TOKENS)
        _range(block, block.mlp, CHANNELS, begins=block.mlp)


def _recorded(call: Callable[..., Any], group: str) -> Callable[..., Any]:
    def recorded(*arguments: Any, **named: Any) -> Any:
        with record_function(RANGE + group):
            return call(*arguments, **named)

    return recorded


def _range(whole: nn.Module, last: nn.Module, group: str, *, begins: nn.Module | None = None) -> None:
    """A range of a group from the start of a module until another in it ends, and one of the norm from there on."""
    current: list[Any] = []

    def switch(following: str | None) -> None:
        if current:
            current.pop().__exit__(None, None, None)
        if following is not None:
            current.append(record_function(RANGE + following))
            current[-1].__enter__()

    (begins or whole).register_forward_pre_hook(lambda *_: switch(group))
    last.register_forward_hook(lambda *_: switch(NORMS))
    whole.register_forward_hook(lambda *_: switch(None))
