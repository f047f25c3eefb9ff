"""Shared fixtures: tiny models with random weights, the shipped model, and where the published data are."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from trm_deploy import checkpoints, puzzles
from trm_deploy.artefacts import bundle
from trm_deploy.checkpoints import Checkpoint
from trm_deploy.evaluation.parity.export_check import check_export
from trm_deploy.export import onnx_artefact
from trm_deploy.export.graph import assemble
from trm_deploy.export.graph.assemble import export_onnx
from trm_deploy.models.presets import preset
from trm_deploy.models.recursive import RecursiveReasoner
from trm_deploy.signature import GRAPHS as GRAPHS
from trm_deploy.signature import Graph as Graph
from trm_deploy.signature import Precision
from trm_deploy.spec import ModelSpec, TaskSpec

PRESETS = ("trm-mlp", "trm-att", "hrm")
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16")
ROOT = Path(__file__).parent.parent
ASSETS = ROOT / "trm_deploy" / "assets"

# The tests run in one process a core, and so do the commands that they start.
os.environ["OMP_NUM_THREADS"] = "1"
torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def traced_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tracing a tiny model takes seconds, whatever graph is made of it: each model is traced once for all processes."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "traces"
    folder.mkdir(exist_ok=True)
    trace = assemble.trace

    def remembered(model: RecursiveReasoner, opset: int) -> onnx.ModelProto:
        digest = hashlib.sha256(f"{model.spec.to_json()} {opset}".encode())
        for name, value in model.state_dict().items():
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.flatten().view(torch.uint8).numpy().tobytes())
        path = folder / f"{digest.hexdigest()}.onnx"
        if not path.exists():
            onnx.save(trace(model, opset), own / path.name)
            (own / path.name).replace(path)
        return onnx.load(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(assemble, "trace", remembered)
        yield


@pytest.fixture(autouse=True)
def log_as_before() -> Iterator[None]:
    """A command that a test calls in its own process logs to stderr from then on: not beyond the test."""
    logger = logging.getLogger("trm_deploy")
    handlers, level = list(logger.handlers), logger.level
    yield
    logger.handlers[:] = handlers
    logger.setLevel(level)


@functools.cache
def load_tool(name: str) -> ModuleType:
    """A script of tools/, or a package of it with all its modules."""
    if name != "script":
        load_tool("script")  # which the others import from their own folder
    folder = ROOT / "tools" / name
    path = folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
    inside = [str(folder)] if folder.is_dir() else None
    spec = importlib.util.spec_from_file_location(name, path, submodule_search_locations=inside)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and relative imports look their module up
    spec.loader.exec_module(module)
    for part in sorted(folder.glob("[!_]*.py")):
        importlib.import_module(f"{name}.{part.stem}")
    return module


def tiny_spec(
    name: str,
    *,
    task: str = "sudoku-4x4",
    identifiers: int = 1,
    architecture: dict[str, Any] | None = None,
    recursion: dict[str, Any] | None = None,
    halting: dict[str, Any] | None = None,
) -> ModelSpec:
    """A preset shrunk to run in milliseconds; dictionaries change further fields."""
    puzzle = puzzles.get(task)
    return preset(
        name,
        TaskSpec(
            name=task,
            sequence_length=puzzle.cells,
            vocabulary=puzzle.vocabulary,
            puzzle_identifiers=identifiers,
        ),
        architecture={
            "hidden_size": 32,
            "layers": 1 if name == "hrm" else 2,
            "heads": 4,
            "prefix_length": 2,
            "puzzle_embedding_size": 40,
            **(architecture or {}),
        },
        recursion={"latent": 2, "deep": 2, **(recursion or {})},
        halting={"max_steps": 6, **(halting or {})},
    )


def random_model(spec: ModelSpec, seed: int = 0) -> RecursiveReasoner:
    """Random weights with a halting head that makes samples halt at different steps."""
    torch.manual_seed(seed)
    model = RecursiveReasoner(spec)
    with torch.no_grad():
        if spec.architecture.puzzle_embedding_size:
            model.puzzles.normal_(std=0.5)
        # Small steps in each layer, so that six steps of recursion do not amplify rounding into differences.
        for name, weight in model.named_parameters():
            if name.endswith(("down.weight", "out.weight")):
                weight.mul_(0.3)
        model.halt_head.weight.normal_(std=0.3)
        model.halt_head.bias.zero_()
    return model.eval().requires_grad_(False)


@functools.cache
def exported(
    name: str,
    graph: Graph,
    *,
    steps: int | None = None,
    precision: Precision = "fp32",
    unroll_inner: bool = False,
    static_scales: bool = False,
) -> onnx.ModelProto:
    """A graph form of a preset's tiny random model; kept, because tracing takes seconds."""
    return export_onnx(
        random_model(tiny_spec(name)),
        graph=graph,
        steps=steps,
        precision=precision,
        unroll_inner=unroll_inner,
        calibration=puzzles.get("sudoku-4x4").examples()[:8] if static_scales else None,
    )


@pytest.fixture(scope="session", params=PRESETS)
def name(request: pytest.FixtureRequest) -> str:
    """Each preset's name."""
    return str(request.param)


@pytest.fixture(scope="session")
def tiny(name: str) -> RecursiveReasoner:
    """A tiny random model of each preset."""
    return random_model(tiny_spec(name))


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint file of a tiny random model."""
    model = random_model(tiny_spec("trm-mlp"))
    path = tmp_path_factory.mktemp("checkpoint") / "tiny.pt"
    checkpoints.save(path, Checkpoint(model.spec, model.state_dict(), {"steps": 0, "recipe": "", "seed": 0}))
    return path


Published = Callable[..., Path]


@pytest.fixture(scope="session")
def published_bundle(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Published:
    """A function of graph form, folder and more of `exported`: a bundle of the tiny checkpoint in that folder, golden
    vectors included; each is made once and copied.
    """
    made: dict[tuple[Any, ...], Path] = {}

    def publish(graph: Graph, folder: Path, *, precision: Precision = "fp32", steps: int | None = None) -> Path:
        key = (graph, precision, steps)
        if key not in made:
            made[key] = tmp_path_factory.mktemp("published") / "m.onnx"
            with pytest.MonkeyPatch.context() as patch:
                model = exported("trm-mlp", graph, steps=steps, precision=precision)
                patch.setattr(onnx_artefact, "export_onnx", lambda *_, **__: model)
                options = onnx_artefact.GraphOptions(graph=graph, steps=steps, precision=precision)
                onnx_artefact.export_checkpoint(tiny_checkpoint, made[key], options, check=check_export)
        for path in bundle.present(made[key]):
            shutil.copy(path, folder)
        return folder / "m.onnx"

    return publish


@pytest.fixture(scope="session")
def published_data() -> Path:
    """The folder with published puzzle sets and golden checkpoints."""
    folder = os.environ.get("TRM_DEPLOY_TEST_DATA")
    if not folder or not Path(folder, "data").is_dir():
        pytest.skip("TRM_DEPLOY_TEST_DATA names no folder with data/ and golden/")
    return Path(folder)


# The golden checkpoints, and whether each halts on q_halt > q_continue rather than on q_halt > 0.
GOLDEN = {"trm_mlp_sudoku": False, "trm_att_maze": False, "hrm_sudoku": True}


def golden_halting_steps(name: str, recorded: Any) -> Any:
    """The step [B] at which each recorded sample halts, as it follows from the published code's halting logits."""
    over = recorded["q_halt"] > (recorded["q_continue"] if GOLDEN[name] else 0)
    steps = np.where(over.any(0), over.argmax(0) + 1, 16)
    assert len(set(steps)) == 3
    return steps


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    # Not beside the sources: what an earlier wheel left in build/ or listed in *.egg-info would come into this one.
    (folder / "build.cfg").write_text(f"[build]\nbuild_base = {folder}/build\n[egg_info]\negg_base = {folder}\n")
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", folder, ROOT],
        check=True,
        cwd=folder,
        env={**os.environ, "DIST_EXTRA_CONFIG": str(folder / "build.cfg")},
    )
    (path,) = folder.glob("*.whl")
    return path


def run_json(*arguments: object) -> list[dict[str, Any]]:
    """The answers of `run --json`."""
    result = subprocess.run(
        [sys.executable, "-m", "trm_deploy", "run", "--json", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert result.returncode in (0, 2), result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]
