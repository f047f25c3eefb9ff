"""Where the time of a supervision step goes: the share of each kind of operation, in ONNX Runtime and in PyTorch.

    python tools/profile_step.py [--batch 8] [--output FILE]

The shipped model: its step graph in float32 and int8, and the checkpoint in bfloat16, eager and compiled.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Optional

import numpy as np
import typer

from trm_deploy import checkpoints
from trm_deploy.models.recursive import RecursiveReasoner
from trm_deploy.runtimes import registry
from trm_deploy.support import machine
from trm_deploy.support.files import write_atomic

SCHEMA = 1
STEPS = 4
SHOWN = 8
CHECKPOINT = Path(__file__).parent.parent / "trm_deploy" / "assets" / "sudoku.pt"
# What ONNX Runtime and PyTorch call a matrix product.
PRODUCTS = (
    "MatMul",
    "FusedMatMul",
    "Gemm",
    "MatMulIntegerToFloat",
    "mm",
    "bmm",
    "addmm",
    "linear",
    "_linear_pointwise",
)


def onnxruntime_shares(model: RecursiveReasoner, precision: str, batch: int, folder: Path) -> dict[str, float]:
    """Share of the time by operator, loops' bodies included."""
    import onnx
    import onnxruntime as ort

    from trm_deploy.export.graph.assemble import export_onnx

    path = folder / f"{precision}.onnx"
    onnx.save(export_onnx(model, graph="step", precision=precision), path)  # type: ignore[arg-type]
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.enable_profiling = True
    options.profile_file_prefix = str(folder / precision)
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    y = z = np.zeros((batch, model.positions, model.spec.architecture.hidden_size), np.float32)
    tokens = np.ones((batch, model.spec.task.sequence_length), np.int32)
    for step in range(STEPS):
        feeds = {"tokens": tokens, "reset": np.full(batch, step == 0), "y": y, "z": z}
        y, z = session.run(["y_next", "z_next"], feeds)
    times: Counter[str] = Counter()
    for event in json.loads(Path(session.end_profiling()).read_text()):
        operator = event.get("args", {}).get("op_name", "")
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time") and operator != "Loop":
            times[operator] += event["dur"]
    return _shares(times)


def torch_shares(model: RecursiveReasoner, batch: int, *, compiled: bool) -> dict[str, float]:
    """Share of the time by operator; of a compiled step, each fused kernel is one."""
    from torch.profiler import ProfilerActivity, profile

    from trm_deploy.runtimes.backends.pytorch import TorchRuntime
    from trm_deploy.runtimes.base import initial_numpy_state

    runtime = TorchRuntime(model, precision="bf16", compiled=compiled)
    tokens = np.ones((batch, model.spec.task.sequence_length), np.int32)
    y, z = initial_numpy_state(model.spec, batch)
    runtime.step(tokens, np.ones(batch, bool), y, z)  # compiles
    with profile(activities=[ProfilerActivity.CPU]) as found:
        for step in range(STEPS):
            result = runtime.step(tokens, np.full(batch, step == 0), y, z)
            y, z = result.y, result.z
    times: Counter[str] = Counter()
    for event in found.key_averages():
        times[event.key.rpartition("::")[2]] += event.self_cpu_time_total
    return _shares(times)


def _shares(times: Counter[str]) -> dict[str, float]:
    total = sum(times.values())
    return {name: time / total for name, time in times.most_common(SHOWN)} | {
        "matrix products": sum(times[name] for name in PRODUCTS) / total
    }


def main(
    batch: Annotated[int, typer.Option(min=1)] = 8,
    output: Annotated[Optional[Path], typer.Option(help="JSON file to write.")] = None,
) -> None:
    """Profile a supervision step."""
    model = checkpoints.load(CHECKPOINT).model()
    with tempfile.TemporaryDirectory() as folder:
        rows: dict[str, Any] = {
            f"ONNX Runtime {precision}": onnxruntime_shares(model, precision, batch, Path(folder))
            for precision in ("fp32", "int8")
        }
    rows["PyTorch eager bf16"] = torch_shares(model, batch, compiled=False)
    rows["PyTorch compiled bf16"] = torch_shares(model, batch, compiled=True)
    for name, shares in rows.items():
        print(f"{name}: {shares['matrix products']:.0%} in matrix products")
        print("  " + ", ".join(f"{operator} {share:.0%}" for operator, share in list(shares.items())[:-1]))
    if output:
        document = {"schema": SCHEMA, "machine": machine.describe(registry.packages()), "batch": batch, "shares": rows}
        write_atomic(output, json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
