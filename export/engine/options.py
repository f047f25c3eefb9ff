"""How an engine is built: its batch sizes, and what is left to TensorRT's builder unless it is given."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trm_deploy.errors import InputError
from trm_deploy.trt.flavours import FLAVOURS, Flavour

# Fields whose flag has another name.
_FLAGS = {"workspace_mib": "--workspace", "overrides": "--set"}


def flag_of(name: str) -> str:
    """The flag of `trm-deploy export` that fills a field."""
    return _FLAGS.get(name, f"--{name.replace('_', '-')}")


@dataclass(frozen=True)
class BatchProfile:
    """Batch sizes that an engine takes: smallest, the one it is tuned for, largest."""

    smallest: int
    tuned: int
    largest: int

    @classmethod
    def parse(cls, text: str) -> BatchProfile:
        """Read "MIN:OPT:MAX", or "N" for all three.

        Raises:
            InputError: not three rising numbers of at least 1.
        """
        parts = text.split(":")
        if len(parts) == 1:
            parts = parts * 3
        numbers = [int(part) for part in parts if re.fullmatch(r"\d{1,9}", part)]
        if len(numbers) != 3 or len(parts) != 3:
            raise InputError(f"--batch is {text!r}, expected MIN:OPT:MAX, such as 1:8:64")
        if not 1 <= numbers[0] <= numbers[1] <= numbers[2]:
            raise InputError(f"--batch is {text}, expected 1 <= MIN <= OPT <= MAX", hint="such as --batch 1:8:64")
        return cls(*numbers)

    def __str__(self) -> str:
        return f"{self.smallest}:{self.tuned}:{self.largest}"


@dataclass(frozen=True, kw_only=True)
class BuilderOptions:
    """What TensorRT's builder decides unless it is given: None or False.

    Attributes:
        workspace_mib: device memory for tactics, in MiB.
        opt_level: builder optimization level, 0 (fast build) to 5 (fast engine).
        timing_cache: file with tactic timings, read where it exists and written after the build.
        version_compatible: the plan also loads under newer TensorRT; it carries host code.
        hardware_compatible: the plan also runs on other GPUs from Ampere on, more slowly.
        max_aux_streams: CUDA streams beside the main one.
    """

    workspace_mib: int | None = None
    opt_level: int | None = None
    timing_cache: Path | None = None
    version_compatible: bool = False
    hardware_compatible: bool = False
    max_aux_streams: int | None = None

    def given(self) -> dict[str, Any]:
        """Flag -> value of those that are given."""
        values = {flag_of(entry.name): getattr(self, entry.name) for entry in dataclasses.fields(BuilderOptions)}
        return {flag: value for flag, value in values.items() if value is not None and value is not False}


@dataclass(frozen=True)
class EngineOptions:
    """How an engine is built.

    Attributes:
        format: key of `FLAVOURS`.
        batch: the optimization profile.
        builder: for the builder.
        compute_capabilities: GPUs to build for ahead of time, such as "8.6"; TensorRT for RTX can, TensorRT cannot.
        constant_limits: whether the limits may be constants of the graph, as for a server that batches every input.
    """

    format: str
    batch: BatchProfile
    builder: BuilderOptions = field(default_factory=BuilderOptions)
    compute_capabilities: tuple[str, ...] = ()
    constant_limits: bool = False

    @property
    def flavour(self) -> Flavour:
        """The package that builds."""
        return FLAVOURS[self.format]
