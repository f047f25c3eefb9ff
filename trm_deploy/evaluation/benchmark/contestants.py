"""The ways to run a model that are compared: the published evaluation, and what this package makes of a checkpoint."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from trm_deploy.artefacts.kind import is_checkpoint
from trm_deploy.errors import ArtefactError, CannotRunHere, InputError
from trm_deploy.runtimes import load, registry
from trm_deploy.runtimes.base import Device, Runtime, StepRuntime
from trm_deploy.runtimes.solving.scheduling import check_batch
from trm_deploy.signature import Precision
from trm_deploy.spec import ModelSpec

if TYPE_CHECKING:
    from trm_deploy.checkpoints import Checkpoint

Way = Literal["fixed", "batches", "in-flight"]

# Batches to try, in this order: a compiled runtime fills a batch up to a size that it has code for.
BATCHES = (8, 16, 32, 64)
# Every one of them is compiled by itself.
COMPILED_BATCHES = (8, 16, 32)


@dataclass(frozen=True)
class Contestant:
    """One way to run a model.

    Attributes:
        name: of the row.
        library: what computes: PyTorch eager, PyTorch compiled, ONNX Runtime, TensorRT.
        graph: ``step``, ``loop`` or ``unrolled``; of PyTorch ``eager`` or ``compiled``.
        runtime: the engine.
        way: ``fixed``: all supervision steps for every puzzle, as the published evaluation does; ``batches``: halting,
            and a batch waits for its slowest; ``in-flight``: halting, and a puzzle that halts makes room.
        batches: sizes to try.
        command: that runs puzzles so.
    """

    name: str
    library: str
    graph: str
    runtime: Runtime
    way: Way
    batches: tuple[int, ...]
    command: str = ""


def contestants(
    files: Sequence[Path],
    *,
    folder: Path,
    settings: Sequence[str] = (),
    device: Device = "cpu",
    batch: int | None = None,
    allow_host_code: bool = False,
    only: Sequence[str] = (),
) -> list[Contestant]:
    """What there is to compare.

    Args:
        files: checkpoints, of which each is also exported; ONNX files and plans.
        folder: for the exports.
        settings: KEY=VALUE, what a published checkpoint does not say.
        device: where to run.
        batch: the only size to try.
        allow_host_code: see `trm_deploy.runtimes.load`.
        only: names of the rows to measure; all where empty.

    Raises:
        InputError: a file cannot be read, two are of different models, the batch exceeds a profile, or `only` names
            what is not there.
        CannotRunHere: nothing of it can run here.
    """
    found: list[Contestant] = []
    offered: list[str] = []
    for path in files:
        if is_checkpoint(path):
            for name, make in _of_checkpoint(path, folder, settings, device):
                offered.append(name)
                if not only or name in only:
                    found += _if_possible(name, make)
            continue
        offered.append(path.stem)
        if not only or path.stem in only:
            found.append(_of_engine(path, load(path, device=device, allow_host_code=allow_host_code)))
    for name in only:
        if name not in offered:
            raise InputError(f"--only {name}: there is no such row, expected one of {', '.join(offered)}")
    if not found:
        raise CannotRunHere("nothing of this can run here", hint="type: trm-deploy doctor")
    specs = {contestant.runtime.spec.model_json() for contestant in found}
    if len(specs) > 1:
        raise ArtefactError(
            f"{', '.join(map(str, files))}: are of different models (their specs differ)",
            hint="compare those of one checkpoint at a time",
        )
    names: set[str] = set()
    for contestant in found:
        if contestant.name in names:
            raise InputError(f"{contestant.name}: two engines have this name", hint="rename one of the files")
        names.add(contestant.name)
    return [_with_batch(contestant, batch) for contestant in found]


def _with_batch(contestant: Contestant, batch: int | None) -> Contestant:
    from dataclasses import replace

    largest = contestant.runtime.largest_batch
    if batch is not None:
        check_batch(contestant.runtime, batch, contestant.name)
        return replace(contestant, batches=(batch,))
    within = tuple(size for size in contestant.batches if largest is None or size <= largest)
    return replace(contestant, batches=within or (largest or 1,))


def _of_engine(path: Path, runtime: Runtime) -> Contestant:
    in_flight = isinstance(runtime, StepRuntime)
    if not in_flight:
        print(
            f"note: {path} has no step form, so its batches wait for their slowest puzzle;"
            " trm-deploy export CHECKPOINT --graph step makes one",
            file=sys.stderr,
        )
    way: Way = "in-flight" if in_flight else "batches"
    library = registry.get(runtime.backend).title
    return Contestant(path.stem, library, runtime.graph, runtime, way, BATCHES, f"trm-deploy run -e {path}")


Make = Callable[[], Runtime]
Sizes = tuple[int, ...]
# A row's name, and what makes its contestant, runtime included.
Offer = tuple[str, Callable[[], Contestant]]


def _of_checkpoint(path: Path, folder: Path, settings: Sequence[str], device: Device) -> Iterator[Offer]:
    from trm_deploy import checkpoints
    from trm_deploy.errors import require

    require("torch", extra="export", purpose=f"to run the checkpoint {path}")
    from trm_deploy.runtimes.backends.pytorch import TorchRuntime

    loaded = checkpoints.load(path, settings)
    run = f"trm-deploy run -e {path}"

    def eager(precision: Precision) -> Runtime:
        return TorchRuntime(loaded.model(), device=device, precision=precision)

    @functools.cache
    def compiled() -> Runtime:
        return TorchRuntime(loaded.model(), device=device, precision="bf16", compiled=True)

    def row(name: str, library: str, graph: str, make: Make, way: Way, batches: Sizes, command: str = "") -> Offer:
        return name, lambda: Contestant(name, library, graph, make(), way, batches, command)

    flags = "--precision bf16 --compile"
    yield row("torch-eager-fp32", "PyTorch", "eager", lambda: eager("fp32"), "fixed", BATCHES)
    yield row("torch-eager-bf16", "PyTorch", "eager", lambda: eager("bf16"), "fixed", BATCHES)
    yield row("torch-compile-bf16", "PyTorch", "compiled", compiled, "fixed", COMPILED_BATCHES)
    name = "torch-compile-bf16-in-flight"
    yield row(name, "PyTorch", "compiled", compiled, "in-flight", COMPILED_BATCHES, f"{run} {flags}")
    # On a CPU, float16 is float32 between casts: slower by those, and no gain.
    narrow = ("fp16", "int8") if device == "cuda" else ("int8",)
    for graph, precision in (("loop", "fp32"), *(("step", precision) for precision in ("fp32", *narrow))):
        name = f"ort-{graph}-{precision}"
        way: Way = "in-flight" if graph == "step" else "batches"
        export = f"trm-deploy export {path} --graph {graph} --precision {precision} -o {name}.onnx"
        make = functools.partial(_exported, loaded, path, folder, graph, precision, device)
        command = f"{export} && trm-deploy run -e {name}.onnx"
        yield row(name, "ONNX Runtime", graph, make, way, BATCHES, command)


def _if_possible(name: str, make: Callable[[], Contestant]) -> list[Contestant]:
    """What `make` gives; nothing, with a line that says why, where this machine or the model cannot."""
    try:
        return [make()]
    except (CannotRunHere, InputError) as error:
        print(f"note: {name} is left out: {error}", file=sys.stderr)
        return []


def _exported(loaded: Checkpoint, path: Path, folder: Path, graph: Any, precision: Any, device: Device) -> Runtime:
    from trm_deploy.export.onnx_artefact import GraphOptions, export_checkpoint

    target = folder / f"{graph}-{precision}.onnx"
    print(f"exporting {path} as a {graph} graph, {precision} ...", file=sys.stderr)
    settings = GraphOptions(graph=graph, precision=precision)
    export_checkpoint(path, target, settings, overrides=loaded.overrides)
    return load(target, device=device)


def spec_of(found: Sequence[Contestant]) -> ModelSpec:
    """The model that all contestants run."""
    return found[0].runtime.spec
