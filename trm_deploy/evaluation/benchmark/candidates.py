"""The ways to run a model that are compared: the published evaluation, and what this package makes of a checkpoint."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from trm_deploy.artefacts import kind, onnx_file
from trm_deploy.artefacts.kind import Kind, is_checkpoint
from trm_deploy.errors import ArtefactError, CannotRunHere, InputError, require
from trm_deploy.runtimes import load, registry
from trm_deploy.runtimes.base import Device, Runtime, StepRuntime
from trm_deploy.runtimes.solving.scheduling import check_batch
from trm_deploy.signature import PRECISIONS, Graph, Precision
from trm_deploy.spec import ModelSpec

logger = logging.getLogger(__name__)

Way = Literal["fixed", "batches", "in-flight"]

# Batches to try, in this order: a compiled runtime fills a batch up to a size that it has code for.
BATCHES = (8, 16, 32, 64)
# Every one of them is compiled by itself.
COMPILED_BATCHES = (8, 16, 32)


@dataclass(frozen=True)
class Candidate:
    """One way to run a model.

    Attributes:
        name: of the row.
        library: what computes: PyTorch, ONNX Runtime, OpenVINO, TensorRT.
        graph: ``step``, ``loop`` or ``unrolled``; of PyTorch ``eager`` or ``compiled``.
        runtime: what runs it.
        way: ``fixed``: all supervision steps for every puzzle, as the published evaluation does; ``batches``: halting,
            and a batch waits for its slowest; ``in-flight``: halting, and a puzzle that halts makes room.
        batches: sizes to try.
        command: that runs puzzles so.
        note: a drawback that the user can do something about.
        path: the file whose build record holds for it; None for what was made of a checkpoint.
    """

    name: str
    library: str
    graph: str
    runtime: Runtime
    way: Way
    batches: tuple[int, ...]
    command: str = ""
    note: str = ""
    path: Path | None = None

    @property
    def precision(self) -> str:
        """What it computes in, where that is a precision by name; else the file's own."""
        computed = self.runtime.arithmetic
        return computed if computed in PRECISIONS else self.runtime.precision


@dataclass(frozen=True)
class Offer:
    """A candidate to be: what is loaded or exported is so only when it is measured."""

    name: str
    make: Callable[[], Candidate]


@dataclass(frozen=True)
class Candidates:
    """What can be measured here, and a note for each that this machine cannot run, or runs with a drawback."""

    found: list[Candidate]
    notes: list[str]

    @property
    def spec(self) -> ModelSpec:
        """The model that all candidates run."""
        return self.found[0].runtime.spec


def candidates(
    files: Sequence[Path],
    *,
    folder: Path,
    overrides: Sequence[str] = (),
    device: Device = "cpu",
    batch: int | None = None,
    allow_host_code: bool = False,
    only: Sequence[str] = (),
) -> Candidates:
    """What there is to compare.

    Args:
        files: checkpoints, of which each is also exported; ONNX files, each in every runtime that reads it; plans.
        folder: for the exports.
        overrides: KEY=VALUE, what a published checkpoint does not say.
        device: where to run.
        batch: the only size to try.
        allow_host_code: see `trm_deploy.runtimes.load`.
        only: names of the rows to measure; all where empty.

    Raises:
        InputError: a file cannot be read, two are of different models, the batch exceeds a profile, or `only` names
            what is not there.
        CannotRunHere: nothing of it can run here.
    """
    offers: list[Offer] = []
    for path in files:
        if is_checkpoint(path):
            offers += _of_checkpoint(path, folder, overrides, device)
        else:
            offers += _of_file(path, device, allow_host_code)
    _check_names([offer.name for offer in offers], only)
    found: list[Candidate] = []
    notes = []
    for offer in offers:
        if only and offer.name not in only:
            continue
        try:
            made = offer.make()
        except CannotRunHere as error:
            notes.append(f"{offer.name} is left out: {error}")
            continue
        if made.note and made.note not in notes:
            notes.append(made.note)
        found.append(_with_batch(made, batch))
    if not found:
        raise CannotRunHere("; ".join(["nothing of this can run here", *notes]), hint="type: trm-deploy doctor")
    if len({candidate.runtime.spec.model_json() for candidate in found}) > 1:
        raise ArtefactError(
            f"{', '.join(map(str, files))}: are of different models (their specs differ)",
            hint="compare those of one checkpoint at a time",
        )
    return Candidates(found, notes)


def _check_names(names: Sequence[str], only: Sequence[str]) -> None:
    """Refuse two rows of one name, and `only` with a name that no row has."""
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"{name}: two engines have this name", hint="rename one of the files")
    for name in only:
        if name not in names:
            raise InputError(f"--only {name}: there is no such row, expected one of {', '.join(names)}")


def _with_batch(candidate: Candidate, batch: int | None) -> Candidate:
    largest = candidate.runtime.largest_batch
    if batch is not None:
        check_batch(candidate.runtime, batch, candidate.name)
        return replace(candidate, batches=(batch,))
    within = tuple(size for size in candidate.batches if largest is None or size <= largest)
    return replace(candidate, batches=within or (largest or 1,))


def _of_file(path: Path, device: Device, allow_host_code: bool) -> list[Offer]:
    """An exported file in the default runtime of its kind; an ONNX file also in others, in each arithmetic."""
    found = kind.of(path)
    default, *others = registry.reading(found)
    offers = [Offer(path.stem, lambda: _of_engine(path.stem, path, default, None, device, allow_host_code))]
    file = onnx_file.read(path) if found is Kind.onnx else None
    for backend in others:
        if file is not None and backend.computes(file) and device in backend.faster_on:
            # An int8 file is computed in int8 alone, which no flag has to say.
            for arithmetic in (None,) if file.precision == "int8" else tuple(reversed(backend.arithmetics)):
                name = f"{path.stem}-{backend.name}-{arithmetic or 'int8'}"
                make = functools.partial(_of_engine, name, path, backend, arithmetic, device, allow_host_code)
                offers.append(Offer(name, make))
    return offers


def _of_engine(
    name: str,
    path: Path,
    backend: registry.Backend,
    arithmetic: Precision | None,
    device: Device,
    allow_host_code: bool,
) -> Candidate:
    runtime = load(path, backend.name, device=device, allow_host_code=allow_host_code, precision=arithmetic)
    command = f"trm-deploy run -e {path}{_runtime_flags(backend.name, arithmetic)}"
    made = Candidate(name, backend.title, runtime.graph, runtime, "in-flight", BATCHES, command, path=path)
    if isinstance(runtime, StepRuntime):
        return made
    note = (
        f"{path} has no step form, so its batches wait for their slowest puzzle;"
        " trm-deploy export CHECKPOINT --graph step makes one"
    )
    return replace(made, way="batches", note=note)


def _runtime_flags(runtime: str, arithmetic: Precision | None = None) -> str:
    """What `run` needs to take a runtime that it might not take by itself; of a plan there is but one."""
    if all(backend.name != runtime for backend in registry.reading(Kind.onnx)):
        return ""
    return f" --runtime {runtime}" + (f" --precision {arithmetic}" if arithmetic else "")


def _of_checkpoint(path: Path, folder: Path, overrides: Sequence[str], device: Device) -> list[Offer]:
    require("torch", extra="export", purpose=f"to run the checkpoint {path}")
    from trm_deploy import checkpoints
    from trm_deploy.runtimes.backends.pytorch import TorchRuntime

    loaded = checkpoints.load(path, overrides)
    given = "".join(f" --set {override}" for override in overrides)
    run = f"trm-deploy run -e {path}{given}"

    def eager(precision: Precision) -> Runtime:
        return TorchRuntime(loaded.model(), device=device, precision=precision)

    @functools.cache
    def compiled() -> Runtime:
        return TorchRuntime(loaded.model(), device=device, precision="bf16", compiled=True)

    def in_torch(
        name: str, graph: str, make: Callable[[], Runtime], way: Way, batches: tuple[int, ...], command: str = ""
    ) -> Offer:
        return Offer(name, lambda: Candidate(name, "PyTorch", graph, make(), way, batches, command))

    def exported(name: str, backend: str, graph: Graph, precision: Precision, arithmetic: Precision | None) -> Offer:
        way: Way = "in-flight" if graph == "step" else "batches"
        static_scales = precision == "int8" and onnx_file.INT8_BY_ROW in registry.get(backend).lacks
        file = f"{graph}-{precision}{'-static' if static_scales else ''}.onnx"
        flags = f"--graph {graph} --precision {precision}{' --static-scales' if static_scales else ''}"
        export = f"trm-deploy export {path}{given} {flags} -o {file}"
        command = f"{export} && trm-deploy run -e {file}{_runtime_flags(backend, arithmetic)}"

        def make() -> Candidate:
            row = registry.get(backend)
            require(row.package, extra=row.extra, purpose="to run ONNX files")  # before an export in vain
            made = _exported(path, folder / file, graph, precision, overrides, static_scales=static_scales)
            runtime = load(made, backend, device=device, precision=arithmetic)
            return Candidate(name, row.title, graph, runtime, way, BATCHES, command)

        return Offer(name, make)

    def in_ort(graph: Graph, precision: Precision) -> Offer:
        return exported(f"ort-{graph}-{precision}", "onnxruntime", graph, precision, None)

    def in_openvino(arithmetic: Precision) -> Offer:
        # An int8 file is computed in int8 alone, which no flag has to say.
        name = f"openvino-step-{arithmetic}"
        if arithmetic == "int8":
            return exported(name, "openvino", "step", "int8", None)
        return exported(name, "openvino", "step", "fp32", arithmetic)

    compiled_in_flight = f"{run} --precision bf16 --compile"
    # On a CPU, float16 is float32 between casts: slower by those, and no gain.
    narrow: tuple[Precision, ...] = ("fp16", "int8") if device == "cuda" else ("int8",)
    on_openvino: tuple[Precision, ...] = ("fp32", "bf16", "int8") if device == "cpu" else ()
    return [
        in_torch("torch-eager-fp32", "eager", lambda: eager("fp32"), "fixed", BATCHES),
        in_torch("torch-eager-bf16", "eager", lambda: eager("bf16"), "fixed", BATCHES),
        in_torch("torch-compile-bf16", "compiled", compiled, "fixed", COMPILED_BATCHES),
        in_torch(
            "torch-compile-bf16-in-flight", "compiled", compiled, "in-flight", COMPILED_BATCHES, compiled_in_flight
        ),
        in_ort("loop", "fp32"),
        in_ort("step", "fp32"),
        *(in_ort("step", precision) for precision in narrow),
        *(in_openvino(arithmetic) for arithmetic in on_openvino),
    ]


def _exported(
    path: Path, target: Path, graph: Graph, precision: Precision, overrides: Sequence[str], *, static_scales: bool
) -> Path:
    """The file that a checkpoint is exported to, made once."""
    from trm_deploy.export.onnx_artefact import GraphOptions, export_checkpoint

    if target.exists():
        return target
    logger.info("exporting %s as a %s graph, %s ...", path, graph, precision)
    try:
        # Without a check: the solved share of the benchmark is one.
        options = GraphOptions(graph=graph, precision=precision, static_scales=static_scales)
        export_checkpoint(path, target, options, overrides=tuple(overrides))
    except InputError as error:  # a model that no graph has, such as one with a split latent: the others are measured
        raise CannotRunHere(str(error)) from error
    return target
