"""How the cost of solving grows: with the batch, the number of puzzles, difficulty, model size, and in memory.

    TRM_DEPLOY_TEST_DATA=FOLDER python tools/cost_curves.py --output FOLDER [--only batch,puzzles,...] [--limit N]

FOLDER/data/sudoku holds the published sets as CSV files. Writes cost-curves.json and a PNG for each curve; a curve that
the JSON holds already is not measured again. The shipped model, but for the curve of model size: random weights there.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Optional

import numpy as np
import typer
from script import run_script

from trm_deploy import checkpoints, puzzles
from trm_deploy.errors import InputError
from trm_deploy.evaluation import accuracy
from trm_deploy.flops import step_flops
from trm_deploy.puzzles.base import Tokens
from trm_deploy.runtimes import registry
from trm_deploy.runtimes.base import StepRuntime, initial_numpy_state
from trm_deploy.runtimes.solving.attempts import Schedule
from trm_deploy.spec import TaskSpec
from trm_deploy.support import machine
from trm_deploy.support.files import atomic_path, write_atomic

SCHEMA = 1
SETS = ("qqwing_simple", "qqwing_easy", "qqwing_intermediate", "qqwing_expert", "sudoku17_sample")
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)
COUNTS = (1, 4, 16, 64, 256, 1000)
SLOTS = 32
SCHEDULE = Schedule(attempts=1, attempt_steps=(16,), halt_threshold=0.0)
CHECKPOINT = Path(__file__).parent.parent / "trm_deploy" / "assets" / "sudoku.pt"
# Runtimes that the curves compare, by the name in the legend.
RUNTIMES = ("PyTorch fp32", "PyTorch compiled bf16", "ONNX Runtime fp32", "ONNX Runtime int8", "OpenVINO bf16")

Curve = dict[str, Any]


def runtime_of(name: str, folder: Path) -> StepRuntime:
    """One of `RUNTIMES`, for the shipped model."""
    from trm_deploy.runtimes import load
    from trm_deploy.runtimes.backends.pytorch import TorchRuntime

    loaded = checkpoints.load(CHECKPOINT)
    if name == "PyTorch fp32":
        return TorchRuntime(loaded.model())
    if name == "PyTorch compiled bf16":
        return TorchRuntime(loaded.model(), precision="bf16", compiled=True)
    library, _, arithmetic = name.rpartition(" ")
    in_openvino = library == "OpenVINO"  # which computes the float32 file in what it is told to
    precision = "fp32" if in_openvino else arithmetic
    path = folder / f"{precision}.onnx"
    if not path.is_file():
        import onnx

        from trm_deploy.export.graph.assemble import export_onnx

        onnx.save(export_onnx(loaded.model(), graph="step", precision=precision), path)  # type: ignore[arg-type]
    runtime = load(path, "openvino", precision="bf16") if in_openvino else load(path)
    assert isinstance(runtime, StepRuntime)
    return runtime


def questions(name: str, limit: int) -> Tokens:
    """The first puzzles of a published set, int32 [N, 81]."""
    data = os.environ.get("TRM_DEPLOY_TEST_DATA")
    if not data:
        raise InputError("TRM_DEPLOY_TEST_DATA is not set", hint="name the folder that holds data/sudoku")
    puzzle = puzzles.get("sudoku-9x9")
    path = str(Path(data) / "data" / "sudoku" / f"{name}.csv")
    return puzzles.read_tokens(path, puzzle, limit)


def solve(runtime: StepRuntime, chosen: Tokens, slots: int) -> tuple[float, list[int]]:
    """Seconds for all puzzles in flight, and the steps of each."""
    started = time.perf_counter()
    found = accuracy.solve(runtime, chosen, SCHEDULE, judge=None, batch=slots)
    return time.perf_counter() - started, found.steps.tolist()


def step_seconds(runtime: StepRuntime, tokens: Tokens, repeats: int = 7) -> float:
    """Median time of a supervision step of a batch."""
    y, z = initial_numpy_state(runtime.spec, len(tokens))
    times = []
    for number in range(repeats + 1):
        started = time.perf_counter()
        result = runtime.step(tokens, np.full(len(tokens), number == 0), y, z)
        times.append(time.perf_counter() - started)
        y, z = result.y, result.z
    return float(np.median(times[1:]))


def batch_curve(folder: Path, limit: int) -> Curve:
    """Puzzles a second of QQWing expert, were all slots always in use, against the number of slots."""
    chosen = questions("qqwing_expert", max(BATCHES))
    made = {name: runtime_of(name, folder) for name in RUNTIMES}
    _, steps = solve(made["ONNX Runtime fp32"], chosen, 8)
    mean = float(np.mean(steps))
    rows: dict[str, dict[str, float]] = {name: {} for name in RUNTIMES}
    for batch in BATCHES:  # from small to large: a compiled runtime fills up to a size that it has code for
        for name in RUNTIMES:
            rows[name][str(batch)] = batch / (step_seconds(made[name], chosen[:batch]) * mean)
    return {"mean_steps": mean, "puzzles_per_second": rows}


def puzzles_curve(folder: Path, limit: int) -> Curve:
    """Puzzles a second against how many there are, 32 slots or as many as there are puzzles."""
    chosen = questions("qqwing_expert", min(limit, max(COUNTS)))
    rows: dict[str, dict[str, float]] = {}
    for name in ("PyTorch compiled bf16", "ONNX Runtime fp32", "OpenVINO bf16"):
        runtime = runtime_of(name, folder)
        rows[name] = {}
        for count in (count for count in COUNTS if count <= len(chosen)):
            slots = min(SLOTS, count)
            solve(runtime, chosen[:slots], slots)  # compiles
            seconds, _ = solve(runtime, chosen[:count], slots)
            rows[name][str(count)] = count / seconds
    return {"slots": SLOTS, "puzzles_per_second": rows}


def difficulty_curve(folder: Path, limit: int) -> Curve:
    """Supervision steps a puzzle, by published set."""
    runtime = runtime_of("OpenVINO bf16", folder)
    rows = {}
    for name in SETS:
        _, steps = solve(runtime, questions(name, limit), SLOTS)
        rows[name] = {"mean": float(np.mean(steps)), "steps": np.bincount(steps, minlength=17)[1:].tolist()}
    return {"precision": "bf16", "steps": rows}


def model_curve(folder: Path, limit: int) -> Curve:
    """Milliseconds of a step at batch 1 against D, L and n; TRM-MLP with random weights, T = 3."""
    from trm_deploy.models.presets import preset
    from trm_deploy.models.recursive import RecursiveReasoner
    from trm_deploy.runtimes.backends.pytorch import TorchRuntime

    # The middle of each range is the full-size model of the TRM paper, but for its length.
    ranges = {"D": (64, 128, 256, 512), "L": (16, 36, 81, 144, 256), "n": (1, 2, 4, 6, 8)}
    usual = {"D": 512, "L": 81, "n": 6}
    rows: dict[str, dict[str, Any]] = {}
    for axis, values in ranges.items():
        rows[axis] = {}
        for value in values:
            at = {**usual, axis: value}
            spec = preset(
                "trm-mlp",
                TaskSpec(name="", sequence_length=at["L"], vocabulary=tuple("0123456789a")),
                architecture={"hidden_size": at["D"]},
                recursion={"latent": at["n"], "deep": 3},
            )
            model = RecursiveReasoner(spec).eval().requires_grad_(False)
            tokens = np.ones((1, at["L"]), np.int32)
            rows[axis][str(value)] = {
                "gflop": step_flops(spec) / 1e9,
                "PyTorch fp32": 1e3 * step_seconds(TorchRuntime(model), tokens, 3),
                "PyTorch compiled bf16": 1e3
                * step_seconds(TorchRuntime(model, precision="bf16", compiled=True), tokens),
            }
    return {"usual": usual, "milliseconds_a_step": rows}


def memory_curve(folder: Path, limit: int) -> Curve:
    """Largest resident memory of a process that does steps, MiB, against the batch."""
    rows: dict[str, dict[str, float]] = {name: {} for name in RUNTIMES}
    for name in RUNTIMES:
        runtime_of(name, folder)  # exports it here, not in the process that is measured
        for batch in (1, 8, 32, 128):
            command = [sys.executable, __file__, "--output", str(folder), "--measure-memory", f"{name}:{batch}"]
            rows[name][str(batch)] = float(subprocess.check_output(command, text=True).split()[-1])
    return {"mebibytes": rows}


def measure_memory(what: str, folder: Path) -> None:
    """In a process of its own: prints its largest resident memory, MiB."""
    name, _, batch = what.rpartition(":")
    step_seconds(runtime_of(name, folder), np.ones((int(batch), 81), np.int32), 3)
    # Not ru_maxrss: a process begins with that of the one that started it.
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    print(int(fields["VmHWM"].split()[0]) / 1024)


def plot_lines(axes: Any, curve: dict[str, dict[str, float]], x: str, y: str) -> None:
    """A line for each name; both axes in powers of two."""
    for name, points in curve.items():
        axes.plot([float(key) for key in points], list(points.values()), marker="o", label=name)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.legend(frameon=False)


def draw_batch(figure: Any, curve: Curve) -> None:
    """See `batch_curve`."""
    plot_lines(figure.subplots(), curve["puzzles_per_second"], "slots", "puzzles a second (QQWing expert)")


def draw_puzzles(figure: Any, curve: Curve) -> None:
    """See `puzzles_curve`."""
    plot_lines(figure.subplots(), curve["puzzles_per_second"], "puzzles", "puzzles a second (QQWing expert)")


def draw_difficulty(figure: Any, curve: Curve) -> None:
    """See `difficulty_curve`."""
    axes = figure.subplots()
    for name, row in curve["steps"].items():
        share = np.cumsum(row["steps"]) / sum(row["steps"])
        axes.plot(range(1, 17), share, marker="o", label=f"{name}, {row['mean']:.1f} on average")
    axes.set_xlabel("supervision steps")
    axes.set_ylabel("share of puzzles that are done")
    axes.legend(frameon=False)


def draw_model(figure: Any, curve: Curve) -> None:
    """See `model_curve`."""
    for axes, (axis, rows) in zip(figure.subplots(1, 3, sharey=True), curve["milliseconds_a_step"].items()):
        for name in ("PyTorch fp32", "PyTorch compiled bf16"):
            axes.plot([int(key) for key in rows], [row[name] for row in rows.values()], marker="o", label=name)
        axes.set_xlabel(axis)
        axes.set_yscale("log")
    figure.axes[0].set_ylabel("ms a supervision step, one puzzle")
    figure.axes[0].legend(frameon=False)


def draw_memory(figure: Any, curve: Curve) -> None:
    """See `memory_curve`."""
    plot_lines(figure.subplots(), curve["mebibytes"], "batch", "largest resident memory, MiB")


CURVES: dict[str, tuple[Callable[[Path, int], Curve], Callable[[Any, Curve], None]]] = {
    "batch": (batch_curve, draw_batch),
    "puzzles": (puzzles_curve, draw_puzzles),
    "difficulty": (difficulty_curve, draw_difficulty),
    "model": (model_curve, draw_model),
    "memory": (memory_curve, draw_memory),
}


def draw(path: Path, plot: Callable[[Any, Curve], None], curve: Curve) -> None:
    """A curve as a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 4), dpi=110, layout="constrained")
    plot(figure, curve)
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png")


def main(
    output: Annotated[Path, typer.Option(help="Folder for the JSON file and the pictures.")],
    only: Annotated[str, typer.Option(help="Curves to measure, with commas between.")] = ",".join(CURVES),
    limit: Annotated[int, typer.Option(min=1, help="Puzzles a set.")] = 1000,
    memory_of: Annotated[Optional[str], typer.Option("--measure-memory", hidden=True)] = None,
) -> None:
    """Measure and draw the cost curves."""
    if memory_of is not None:
        measure_memory(memory_of, output)
        return
    path = output / "cost-curves.json"
    document: dict[str, Any] = {"schema": SCHEMA, "machine": machine.describe(registry.packages()), "curves": {}}
    if path.is_file():
        document = json.loads(path.read_text())
    with tempfile.TemporaryDirectory() as folder:
        for name in only.split(","):
            measure, plot = CURVES[name]
            if name not in document["curves"]:
                print(f"measuring {name} ...", file=sys.stderr, flush=True)
                document["curves"][name] = measure(Path(folder), limit)
                write_atomic(path, json.dumps(document, indent=1) + "\n")
            draw(output / f"cost-{name}.png", plot, document["curves"][name])


if __name__ == "__main__":
    run_script(main)
