"""Measures every runtime that a machine has, from the files of a kit: parity and verify first, then the times.

    python -m gpu_kit.device --output build/gpu [--dry-run]

Writes gpu.json and gpu.md, as `make test-gpu` does, after each step, so that a run which is ended leaves what it has.
Exit code 1 where a runtime fails, 5 where there is nothing to measure.
"""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Optional

import numpy as np
import typer

from trm_deploy import checkpoints, puzzles
from trm_deploy.artefacts import golden
from trm_deploy.errors import CannotRunHere
from trm_deploy.evaluation import parity
from trm_deploy.evaluation.defaults import CONTROLS
from trm_deploy.evaluation.parity.bounds import BOUNDS
from trm_deploy.evaluation.parity.compare import Known
from trm_deploy.evaluation.parity.pytorch import reference_and_controls
from trm_deploy.evaluation.verify import replay
from trm_deploy.export.engine.build import build_engine
from trm_deploy.export.engine.options import BatchProfile, EngineOptions
from trm_deploy.runtimes import load, registry
from trm_deploy.runtimes.backends.pytorch import TorchRuntime
from trm_deploy.runtimes.base import Device, Int32, Runtime, Solution
from trm_deploy.runtimes.host_loop import solve_by_steps
from trm_deploy.support import machine
from trm_deploy.trt import flavours

from .measure import Measurements, Row, latency, parity_of, verified_per_second

FILES = Path(__file__).with_name("files")
BATCH = BatchProfile(1, 64, 512)
NOTHING_MEASURED = 5

Make = Callable[[], Runtime]


class CapturedRuntime(TorchRuntime):
    """PyTorch with the deep recursion of a supervision step captured as a CUDA graph, one for each batch size."""

    def __init__(self, model: Any, *, device: Device, precision: Any) -> None:
        super().__init__(model, device=device, precision=precision)
        self._graphs: dict[int, tuple[Any, tuple[Any, ...], tuple[Any, Any]]] = {}
        self.description += ", CUDA graph"

    def solve(
        self, tokens: Int32, puzzle_ids: Int32 | None = None, *, max_steps: int, halt_threshold: float
    ) -> Solution:
        """See `Runtime.solve`."""
        return solve_by_steps(self, tokens, puzzle_ids, max_steps=max_steps, halt_threshold=halt_threshold)

    def _deep_recursion(self, *states: Any) -> tuple[Any, Any]:
        batch = len(states[0])
        if batch not in self._graphs:
            self._graphs[batch] = self._capture(states)
        graph, inputs, (y, z) = self._graphs[batch]
        for buffer, state in zip(inputs, states):
            buffer.copy_(state)
        graph.replay()
        return y.clone(), z.clone()

    def _capture(self, states: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...], tuple[Any, Any]]:
        cuda, inputs = self._torch.cuda, tuple(state.clone() for state in states)
        beside = cuda.Stream()
        beside.wait_stream(cuda.current_stream())
        with cuda.stream(beside):
            self._model.deep_recursion(*inputs)  # libraries take their workspace in the first call
        cuda.current_stream().wait_stream(beside)
        graph = cuda.CUDAGraph()
        with cuda.graph(graph):
            outputs = self._model.deep_recursion(*inputs)
        return graph, inputs, outputs


@dataclass
class Bench:
    """What is common to all runtimes.

    Attributes:
        found: what is written down.
        output: the folder for it.
        tokens: int32 [N, 81], the questions.
        parity_puzzles: number of them that are compared with PyTorch on the CPU.
        repeats: of each timing.
        deadline: `time.monotonic` after which nothing is begun.
    """

    found: Measurements
    output: Path
    tokens: Int32
    parity_puzzles: int
    repeats: int
    deadline: float
    known: Known = field(default_factory=Known)
    failed: bool = False

    def guarded(self, name: str, work: Callable[[], None]) -> None:
        """Do a part of the work; what goes wrong is written down, and the others go on."""
        try:
            if time.monotonic() > self.deadline:
                raise CannotRunHere("not begun: the time was up")
            work()
        except CannotRunHere as error:
            self.found.skipped[name] = str(error)
        except Exception as error:  # of libraries that this machine alone has
            self.failed = True
            self.found.skipped[name] = f"FAILED: {type(error).__name__}: {' '.join(str(error).split())[:500]}"
            traceback.print_exc()
        self.found.write(self.output)

    def compare(self, name: str, runtime: Runtime, reference: Any) -> Row:
        """Golden vectors, then parity with PyTorch float32 on the CPU."""
        tokens, sudoku = self.tokens[: self.parity_puzzles], puzzles.get("sudoku-9x9")
        vectors = golden.require(FILES / f"{'loop' if runtime.graph == 'loop' else 'step'}-fp32.onnx")
        replayed = replay(name, runtime, vectors, BOUNDS[runtime.precision])
        compared = parity.compare(
            *reference,
            [(name, runtime)],
            tokens,
            solved=lambda answers: np.array([not sudoku.answer_faults(*pair) for pair in zip(tokens, answers)]),
            max_steps=16,
            halt_threshold=0.0,
            in_turn=True,
            known=self.known,
        )
        row = Row(name, parity_of(compared), verify=replayed.engines[0].failures)
        self.failed |= bool(row.verify or row.parity["failures"])
        self.found.rows.append(row)
        return row

    def measure(self, row: Row, runtime: Runtime) -> None:
        """Latency, then verified puzzles a second."""
        row.milliseconds = latency(runtime, self.tokens, repeats=self.repeats)
        if runtime.fixed_steps is None:
            row.verified_per_second = verified_per_second(runtime, puzzles.get("sudoku-9x9"), self.tokens)


def free_mib(device: Device) -> float | None:
    """Free device memory, MiB."""
    if device != "cuda":
        return None
    import torch

    torch.cuda.empty_cache()
    return float(torch.cuda.mem_get_info()[0]) / 2**20


def offers(model: Any, device: Device, plans: Path) -> Iterator[tuple[str, Make]]:
    """Every runtime by its name; what one of them needs is looked for when it is made."""

    def torch(**how: Any) -> Make:
        return lambda: TorchRuntime(model, device=device, **how)

    def captured() -> Runtime:
        if device != "cuda":
            raise CannotRunHere("CUDA graphs need a GPU")
        return CapturedRuntime(model, device=device, precision="bf16")

    def onnxruntime(path: Path) -> Make:
        return lambda: load(path, "onnxruntime", device=device)

    def engine(format: str, source: Path) -> Make:
        def make() -> Runtime:
            flavours.load(flavours.FLAVOURS[format], purpose="for this measurement")
            gpu = machine.gpu()
            ahead = flavours.FLAVOURS[format].ahead_of_time
            here = (gpu.compute_capability,) if gpu is not None and ahead else ()
            plan = plans / f"{format}-{source.stem}.plan"
            build_engine(source, plan, EngineOptions(format, BATCH, compute_capabilities=here))
            return load(plan)

        return make

    yield "PyTorch fp32", torch()
    yield "PyTorch bf16", torch(precision="bf16")
    yield "PyTorch bf16, CUDA graph", captured
    for name in ("step-fp16", "loop-fp16", "step-fp32", "loop-fp32"):
        yield f"ONNX Runtime {name}", onnxruntime(FILES / f"{name}.onnx")
    for format, flavour in flavours.FLAVOURS.items():
        for name in ("step-fp16-unrolled", "loop-fp16", "loop-fp32"):
            yield f"{flavour.title} {name}", engine(format, FILES / f"{name}.onnx")
    yield "PyTorch compiled bf16", torch(precision="bf16", compiled=True)


def main(
    output: Annotated[Path, typer.Option(help="Folder for gpu.json and gpu.md.")] = Path("build/gpu"),
    seconds: Annotated[float, typer.Option(help="Seconds after which nothing more is begun.")] = 200.0,
    parity_puzzles: Annotated[int, typer.Option(min=1, help="Puzzles to compare with PyTorch on the CPU.")] = 200,
    limit: Annotated[int, typer.Option(min=1, help="Use the first N puzzles.")] = 1000,
    repeats: Annotated[int, typer.Option(min=1, help="Repeats of each timing.")] = 20,
    only: Annotated[Optional[list[str]], typer.Option(help="Only the runtimes of this name; repeatable.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="The same on the CPU; its times say nothing.")] = False,
) -> None:
    """Measure."""
    started, gpu = time.monotonic(), machine.gpu()
    if gpu is None and not dry_run:
        print("nothing measured: no NVIDIA GPU is found; --dry-run tries the kit on the CPU", file=sys.stderr)
        sys.exit(NOTHING_MEASURED)
    name, capability = ("CPU (dry run)", "none") if gpu is None or dry_run else (gpu.name, gpu.compute_capability)
    task = puzzles.get("sudoku-9x9")
    lines = (FILES / "puzzles.txt").read_text().split()[:limit]
    tokens = np.stack([task.parse_line(line) for line in lines]).astype(np.int32)
    versions = machine.versions(registry.packages())
    bench = Bench(
        Measurements(name, capability, versions, min(parity_puzzles, limit), repeats),
        output,
        tokens,
        parity_puzzles,
        repeats,
        started + seconds,
    )
    output.mkdir(parents=True, exist_ok=True)
    model = checkpoints.load(FILES / "sudoku.pt").model()
    reference = reference_and_controls(model, CONTROLS)
    loaded: dict[str, tuple[Row, Runtime]] = {}
    device: Device = "cpu" if dry_run else "cuda"
    for title, make in offers(model, device, output):
        if only and title not in only:
            continue

        def compare(title: str = title, make: Make = make) -> None:
            before = free_mib(device)
            runtime = make()
            row = bench.compare(title, runtime, reference)
            after = free_mib(device)
            row.memory_mib = None if before is None or after is None else before - after
            loaded[title] = row, runtime

        bench.guarded(title, compare)
        print(f"{time.monotonic() - started:5.0f} s  compared {title}", file=sys.stderr)
    for title, (row, runtime) in loaded.items():
        bench.guarded(title, lambda row=row, runtime=runtime: bench.measure(row, runtime))  # type: ignore[misc]
        print(f"{time.monotonic() - started:5.0f} s  measured {title}", file=sys.stderr)
    print((output / "gpu.md").read_text())
    sys.exit(1 if bench.failed else 0 if loaded else NOTHING_MEASURED)


if __name__ == "__main__":
    typer.run(main)
