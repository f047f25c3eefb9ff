"""Which graph form each consumer takes, from runs.

    python -m tools.graph_consumers [--web FOLDER] [--output build/graph-consumers.json]

The shipped model in every form, on one puzzle, in every consumer: as exported, and after onnxslim and onnxsim. What is
compared are the logits, with those that ONNX Runtime computes of the form as exported. FOLDER has onnxruntime-web in
its node_modules (npm install onnxruntime-web); without it, ONNX Runtime Web is left out.
"""

from __future__ import annotations

import importlib.metadata
import json
import logging
import platform
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Optional

import numpy as np
import onnx
import onnxruntime
import typer
from numpy.typing import NDArray

from trm_deploy import checkpoints, puzzles
from trm_deploy.artefacts import onnx_file
from trm_deploy.errors import TrmDeployError
from trm_deploy.export.graph.assemble import export_onnx
from trm_deploy.runtimes import load
from trm_deploy.runtimes.base import StepRuntime
from trm_deploy.signature import BakedLimits
from trm_deploy.support.files import write_atomic

CHECKPOINT = Path(__file__).resolve().parents[2] / "trm_deploy" / "assets" / "sudoku.pt"
# Flags of `trm-deploy export`, and what they mean for `export_onnx`.
FORMS: dict[str, dict[str, Any]] = {
    "--graph step": {"graph": "step"},
    "--graph step --batch 1": {"graph": "step", "batch": 1},
    "--graph step --unroll-inner --batch 1": {"graph": "step", "unroll_inner": True, "batch": 1},
    "--graph loop": {"graph": "loop"},
    "--graph loop --batch 1": {"graph": "loop", "batch": 1},
    "--graph loop --bake-limits": {"graph": "loop", "bake": True},
    "--graph loop --batch 1 --bake-limits": {"graph": "loop", "batch": 1, "bake": True},
    "--graph unrolled --steps 2": {"graph": "unrolled", "steps": 2},
    "--graph unrolled --steps 2 --batch 1 --bake-limits": {"graph": "unrolled", "steps": 2, "batch": 1, "bake": True},
}
TOOLS = ("", "onnxslim", "onnxsim")
PACKAGES = ("onnxruntime", "openvino", "tensorrt-rtx", "onnxslim", "onnxsim", "onnx")
# Largest difference of a logit that is rounding; 2e-5 was seen.
TOLERANCE = 1e-3
# Supervision steps, and a threshold that no halting logit reaches: every loop turns so often.
STEPS, NEVER = 3, 1e9
# The most of the text of an error that is kept.
REASON = 160

Feeds = Mapping[str, NDArray[Any]]


def change(model: onnx.ModelProto, tool: str) -> onnx.ModelProto:
    """A model as a tool writes it anew."""
    if tool == "onnxslim":
        import onnxslim

        return onnxslim.slim(model)
    if tool == "onnxsim":
        import onnxsim

        return onnxsim.simplify(model)[0]
    return model


def feeds_of(path: Path, tokens: NDArray[np.int32], steps: int) -> dict[str, NDArray[Any]]:
    """What a file takes, for one puzzle."""
    values = {
        "tokens": tokens,
        "reset": np.ones(1, np.bool_),
        "max_steps": np.array(steps, np.int32),
        "halt_threshold": np.array(NEVER, np.float32),
    }
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    state = {
        tensor.name: np.zeros([1, *tensor.shape[1:]], np.float32)
        for tensor in session.get_inputs()
        if tensor.name in ("y", "z")
    }
    return {tensor.name: {**values, **state}[tensor.name] for tensor in session.get_inputs()}


def by_runtime(name: str) -> Callable[[Path, Feeds, int], NDArray[Any]]:
    """The logits by one of our own back ends, with nothing between it and the library but the feeds."""

    def logits(path: Path, feeds: Feeds, steps: int) -> NDArray[Any]:
        engine = load(path, name)
        if isinstance(engine, StepRuntime):
            return np.asarray(engine.step(feeds["tokens"], feeds["reset"], feeds["y"], feeds["z"]).logits)
        return engine.solve(feeds["tokens"], max_steps=steps, halt_threshold=NEVER).logits

    return logits


def by_web(folder: Path) -> Callable[[Path, Feeds, int], NDArray[Any]]:
    """The logits by ONNX Runtime Web under node."""

    def logits(path: Path, feeds: Feeds, steps: int) -> NDArray[Any]:
        given = path.with_suffix(".feeds.json")
        plain = {
            name: {"type": str(value.dtype), "dims": list(value.shape), "data": value.ravel().tolist()}
            for name, value in feeds.items()
        }
        given.write_text(json.dumps(plain))
        script = Path(__file__).with_name("web.mjs")
        ran = subprocess.run(
            ["node", str(script), str(folder), str(path), str(given)], capture_output=True, text=True, timeout=300
        )
        if ran.returncode:
            raise TrmDeployError(ran.stderr.strip()[-REASON:] or f"exit code {ran.returncode}")
        return np.array(json.loads(ran.stdout), np.float32)

    return logits


def main(
    web: Annotated[Optional[Path], typer.Option("--web")] = None,
    output: Annotated[Path, typer.Option("--output")] = Path("build/graph-consumers.json"),
) -> None:
    """Write the table as JSON."""
    consumers = {
        "ONNX Runtime": by_runtime("onnxruntime"),
        "OpenVINO": by_runtime("openvino"),
        "TensorRT for RTX (parser)": by_runtime("trt-network"),
    }
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    if web is not None:
        consumers["ONNX Runtime Web"] = by_web(web.resolve())
        package = json.loads((web / "node_modules" / "onnxruntime-web" / "package.json").read_text("utf-8"))
        versions |= {"onnxruntime-web": package["version"]}
    logging.getLogger("trm_deploy").setLevel(logging.ERROR)  # not that the seals of changed files are gone
    loaded = checkpoints.load(CHECKPOINT, ())
    tokens = puzzles.get(loaded.spec.task.name).examples()[:1]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for form, told in FORMS.items():
            given = dict(told)
            steps = given.get("steps", STEPS)
            if given.pop("bake", False):
                given["baked"] = BakedLimits(steps, NEVER)
            sealed = Path(folder, "sealed.onnx")
            onnx.save(export_onnx(loaded.model(), **given), sealed)
            onnx_file.seal(sealed)
            feeds = feeds_of(sealed, tokens, steps)
            expected = by_runtime("onnxruntime")(sealed, feeds, steps).ravel()
            for tool in TOOLS:
                path = Path(folder, "m.onnx")
                row: dict[str, Any] = {"form": form, "after": tool}
                try:
                    onnx.save(change(onnx.load(sealed), tool), path) if tool else path.write_bytes(sealed.read_bytes())
                except Exception as error:  # of a tool: whatever it raises is what it does with the form
                    row["tool_fails"] = str(error)[:REASON]
                    rows.append(row)
                    continue
                row["bytes"] = path.stat().st_size
                row["consumers"] = {
                    name: _outcome(run, path, feeds, steps, expected) for name, run in consumers.items()
                }
                rows.append(row)
                print(form, tool, {name: entry["takes"] for name, entry in row["consumers"].items()}, flush=True)
    document = {"versions": versions, "machine": platform.machine(), "rows": rows}
    output.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(output, json.dumps(document, indent=1) + "\n")


def _outcome(
    run: Callable[[Path, Feeds, int], NDArray[Any]], path: Path, feeds: Feeds, steps: int, expected: NDArray[Any]
) -> dict[str, Any]:
    try:
        difference = float(np.abs(run(path, feeds, steps).ravel() - expected).max())
    except Exception as error:  # whatever a consumer raises is what it does with the form
        return {"takes": False, "reason": " ".join(str(error).replace(str(path.parent) + "/", "").split())[:REASON]}
    return {"takes": difference <= TOLERANCE, "difference": difference}


if __name__ == "__main__":
    typer.run(main)
