"""Runs an artefact under its runtime's own profiler and divides the time among the layer groups of its graph."""

from __future__ import annotations

import gc
import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from trm_deploy.artefacts import kind, layer_groups, onnx_graph, record, shipped
from trm_deploy.artefacts.kind import Kind
from trm_deploy.artefacts.layer_groups import Place
from trm_deploy.errors import InputError
from trm_deploy.evaluation.profiling.attribution import AND, groups_of, operator_of
from trm_deploy.evaluation.profiling.report import HOST, Group, Operator, ProfileReport, sorted_names
from trm_deploy.puzzles.sampling import sample_questions
from trm_deploy.runtimes import check_options, registry
from trm_deploy.runtimes.backends.trt import preflight
from trm_deploy.runtimes.base import LoadOptions, Runtime, StepRuntime, initial_numpy_state
from trm_deploy.runtimes.profiling.base import Layer, ProfiledRun, timed
from trm_deploy.spec import ModelSpec
from trm_deploy.support import machine

# Supervision steps of a run of the loop form.
LOOP_STEPS = 4
WARM_UP = 2
# Runs: as many as fit into this time, within limits.
SECONDS = 3.0
FEWEST, MOST = 5, 40
# From this factor on, what the profiler itself costs is noted.
NOTED_COST = 1.2
# Of the runs, the fastest are kept: what else the machine does only ever makes one slower.
KEPT = 0.5


def profile_file(
    path: Path, runtime: str | None = None, *, batch: int = 1, options: LoadOptions | None = None
) -> ProfileReport:
    """Where the time of a supervision step goes.

    Args:
        path: checkpoint, ONNX file or plan, the name of a shipped model or one on the hub.
        runtime: a name in `trm_deploy.runtimes.registry`; the one that `run` takes where None.
        batch: puzzles at a time.
        options: how it is loaded.

    Raises:
        InputError: a runtime that does not read the file or has no profiler, or a batch that an engine does not take.
        TrmDeployError: see `trm_deploy.runtimes.load`.
    """
    options = options or LoadOptions()
    path = shipped.local(path)
    found = kind.of(path)
    backend = registry.fastest(path, found, options.device, runtime)
    check_options(path, backend, options)
    if not backend.profiler:
        able = [other.name for other in registry.reading(found) if other.profiler]
        raise InputError(
            f"--runtime {backend.name}: {backend.title} has no profiler", hint=f"use --runtime {' or '.join(able)}"
        )
    unprofiled = _unprofiled(backend.load(path, options), path, batch)
    gc.collect()  # a runtime's idle threads may wait by spinning, in the way of the next one's
    places, notes = _places(path, found)
    profiler = backend.open_profiler(path, options)
    profiled = profiler.runtime
    steps, run = _runner(profiled, batch)
    runs = profiler.measure(run, _warm_up(run))
    kept = _fastest(runs)
    milliseconds = _mean(kept)
    groups = _groups(milliseconds, places, kept, steps)
    if any(AND in group.name for group in groups):
        notes.append(f"{AND.strip()}: what the runtime has fused across layer groups, which its profiler times as one")
    step_ms = _wall(kept) / steps
    if step_ms > NOTED_COST * unprofiled:
        notes.append(
            f"the profiler makes the step {step_ms / unprofiled:.1f} times as long, each node by as much: small"
            " operators and the time between nodes, which is recursion's and the host's, have too large shares"
        )
    return ProfileReport(
        machine=machine.describe(registry.packages()),
        artefact=str(path),
        runtime=profiled.description,
        backend=backend.name,
        arithmetic=profiled.arithmetic,
        method=profiler.method,
        batch=batch,
        steps=sum(run.count for run in kept) * steps,
        step_ms=step_ms,
        step_ms_unprofiled=unprofiled,
        groups=groups,
        notes=tuple(notes),
    )


def _unprofiled(runtime: Runtime, path: Path, batch: int) -> float:
    """Milliseconds of a supervision step without the profiler.

    Raises:
        InputError: a batch that the engine does not take.
    """
    largest = runtime.largest_batch
    if largest is not None and batch > largest:
        raise InputError(f"--batch is {batch}, and {path} takes up to {largest}", hint=f"use --batch {largest}")
    steps, run = _runner(runtime, batch)
    return _wall(_fastest([ProfiledRun(timed(run), {}) for _ in range(_warm_up(run))])) / steps


def _places(path: Path, found: Kind) -> tuple[dict[str, Place], list[str]]:
    """Where the tensors of an artefact's graph are computed, and what stands in the way of knowing it."""
    if found is Kind.checkpoint:
        return {}, []
    source = path if found is Kind.onnx else preflight.source_of(path, record.read(path))
    if source is None:
        return {}, [
            "the engine's layers are attributed by the ONNX file that it was built from, which is not beside it:"
            f" copy it to {path.with_suffix('.onnx')}"
        ]
    places = layer_groups.places(onnx_graph.read(source))
    changed = f"{source}: its graph is not of the structure that trm-deploy exports, so nothing in it is attributed"
    return places, [] if places else [changed]


def _runner(runtime: Runtime, batch: int) -> tuple[int, Callable[[], None]]:
    """How many supervision steps a run has, and what does one: a step, or a loop that nothing halts."""
    tokens = _questions(runtime.spec, batch)
    if isinstance(runtime, StepRuntime):
        state = initial_numpy_state(runtime.spec, batch)
        held: list[object] = [*state, True]

        def step() -> None:
            result = runtime.step(tokens, np.full(batch, held[2], np.bool_), held[0], held[1])
            held[:] = [result.y, result.z, False]

        return 1, step
    steps = runtime.fixed_steps or min(LOOP_STEPS, runtime.spec.halting.max_steps)

    def solve() -> None:
        runtime.solve(tokens, max_steps=steps, halt_threshold=math.inf)

    return steps, solve


def _questions(spec: ModelSpec, batch: int) -> np.ndarray[tuple[int, int], np.dtype[np.int32]]:
    """int32 [batch, L]: the task's examples, repeated."""
    task = spec.task
    found = sample_questions(task.name, task.sequence_length, len(task.vocabulary))
    return np.ascontiguousarray(np.resize(found, (batch, task.sequence_length)))


def _warm_up(run: Callable[[], None]) -> int:
    """Run it until it is warm; the number of runs to time."""
    slowest = [timed(run) for _ in range(WARM_UP)][-1]
    return int(np.clip(1e3 * SECONDS / max(slowest, 1e-3), FEWEST, MOST))


def _fastest(runs: Sequence[ProfiledRun]) -> list[ProfiledRun]:
    return sorted(runs, key=lambda run: run.milliseconds)[: math.ceil(len(runs) * KEPT)]


def _wall(runs: Sequence[ProfiledRun]) -> float:
    return sum(run.milliseconds for run in runs) / len(runs)


def _mean(runs: Sequence[ProfiledRun]) -> dict[Layer, float]:
    """Milliseconds of each layer in a run."""
    times: dict[Layer, float] = defaultdict(float)
    for run in runs:
        for layer, milliseconds in run.layers.items():
            times[layer] += milliseconds / len(runs)
    return dict(times)


def _groups(
    milliseconds: Mapping[Layer, float], places: Mapping[str, Place], runs: Sequence[ProfiledRun], steps: int
) -> tuple[Group, ...]:
    whole = _wall(runs) / steps
    operators: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for layer, group in groups_of(list(milliseconds), places).items():
        operators[group][operator_of(layer, places)] += milliseconds[layer] / steps
    times = {group: sum(counted.values()) for group, counted in operators.items()}
    times[HOST] = whole - sum(times.values())
    return tuple(
        Group(
            name,
            times[name],
            times[name] / whole,
            tuple(
                Operator(operator, spent, spent / whole)
                for operator, spent in sorted(operators[name].items(), key=lambda entry: -entry[1])
                if spent
            ),
        )
        for name in sorted_names({name for name, spent in times.items() if spent or name == HOST})
    )
