"""The devices that engines are built for: what their TensorRT reads, and what fits. targets.toml has the data."""

from __future__ import annotations

import functools
import logging
import re
import sys
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from trm_deploy.artefacts.onnx_file import OnnxFile
from trm_deploy.errors import CannotRunHere, InputError
from trm_deploy.support import machine
from trm_deploy.support.machine import Gpu
from trm_deploy.support.plain import from_plain

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Target:
    """A device.

    Attributes:
        title: for messages.
        compute_capability: CUDA's, such as "8.7".
        tensorrt: first and last release that this project means to serve there; "" where open.
        opset: the highest that the oldest of them reads.
        batch: profile MIN:OPT:MAX.
        workspace_mib: device memory for the builder's tactics, MiB.
        models: substrings of the name that the device gives itself.
        rtx: TensorRT for RTX serves it too.
        jetpack: first and last JetPack release; empty on machines that are not a Jetson.
        missing_operators: ONNX operators that its parser lacks.
    """

    title: str
    compute_capability: str
    tensorrt: tuple[str, ...]
    opset: int
    batch: str
    workspace_mib: int
    models: tuple[str, ...]
    rtx: bool = False
    jetpack: tuple[str, ...] = ()
    missing_operators: tuple[str, ...] = ()

    def check(self, described: OnnxFile, source: Path) -> None:
        """Whether the device's TensorRT can parse a graph; logs what was compared.

        Raises:
            CannotRunHere: it cannot, and why.
        """
        if described.opset > self.opset:
            raise CannotRunHere(
                f"{source}: this graph will not parse on {self.title}, because it has opset {described.opset} and"
                f" TensorRT {self.tensorrt[0]} there reads up to {self.opset}",
                hint=f"export again with --opset {self.opset}",
            )
        lacking = sorted(described.operators & set(self.missing_operators))
        if lacking:
            raise CannotRunHere(
                f"{source}: this graph will not parse on {self.title}, because TensorRT {self.tensorrt[0]} there"
                f" lacks {', '.join(lacking)}",
                hint="export again from the checkpoint, in fp32 or fp16",
            )
        log.info(
            "%s fits %s: opset %d (TensorRT %s there reads up to %d), and none of its %d operators is among those that"
            " it lacks (%s)",
            source,
            self.title,
            described.opset,
            self.tensorrt[0],
            self.opset,
            len(described.operators),
            ", ".join(self.missing_operators) or "none known",
        )

    def check_gpu(self, gpu: Gpu, *, hint: str) -> None:
        """Whether an engine built on this GPU would run on the device.

        Raises:
            CannotRunHere: it would not.
        """
        if gpu.compute_capability != self.compute_capability:
            raise CannotRunHere(
                f"an engine for {self.title} (compute capability {self.compute_capability}) is built on it, and this"
                f" machine's GPU has {gpu.compute_capability}",
                hint=hint,
            )


@functools.cache
def targets() -> dict[str, Target]:
    """Name -> device."""
    text = (resources.files("trm_deploy.export.engine") / "targets.toml").read_text("utf-8")
    document: dict[str, Any] = tomllib.loads(text)
    defaults = document.pop("defaults")
    return {name: from_plain(Target, defaults | entry, f"targets.toml [{name}]") for name, entry in document.items()}


def target(name: str) -> Target:
    """A device by name.

    Raises:
        InputError: none has this name.
    """
    found = targets().get(name)
    if found is None:
        raise InputError(f"--target is {name!r}, expected one of {', '.join(targets())}")
    return found


def this_machine() -> Target | None:
    """The device that this machine is, by its own name; None where it is none of those known."""
    jetson, gpu = machine.jetson(), machine.gpu()
    name = jetson.model if jetson else gpu.name if gpu else ""
    if not name:
        return None
    # Whole words: "NVIDIA L4" is also the beginning of "NVIDIA L40S", which is another device.
    for entry in targets().values():
        if any(re.search(rf"\b{re.escape(model)}\b", name) for model in entry.models):
            return entry
    return None
