"""What stays light, and what a wheel holds; who may import whom is what test_imports.py tells."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HEAVY = ("torch", "onnx", "onnxruntime", "numba", "matplotlib", "tensorrt")
LAYERS = ("export", "runtimes", "train", "web")


@pytest.mark.parametrize(
    "statement", ["import trm_deploy", "import trm_deploy.cli, trm_deploy.runtimes.solving.session"]
)
def test_importing_stays_light(statement: str) -> None:
    code = f"{statement}; import sys; print([m for m in {HEAVY} if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True, cwd=ROOT).strip() == "[]"


def test_help_imports_little() -> None:
    """What it imports is what it takes: 0.1 s with these modules; `make startup` measures the seconds."""
    code = (
        "import json, sys\nbefore = set(sys.modules)\nsys.argv = ['trm-deploy', '--help']\n"
        "from trm_deploy.cli import main\n"
        "try:\n    main()\nexcept SystemExit as e:\n    assert not e.code\n"
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    out = subprocess.check_output([sys.executable, "-c", code], text=True, cwd=ROOT)
    text, _, last = out.rstrip().rpartition("\n")
    assert "parity" in text
    modules = json.loads(last)
    packages = {module.partition(".")[0] for module in modules}
    assert packages.isdisjoint({*HEAVY, "numpy", "rich", "pydantic"})
    ours = [module for module in modules if module.partition(".")[0] == "trm_deploy"]
    beside = [module for module in ours if not module.startswith("trm_deploy.cli.")]  # where each command has one
    assert len(beside) <= 21
    assert len(modules) <= 260


def module_files() -> set[str]:
    """Every module of the source tree by its path in the package, `export`, `runtimes`, `train` and `web` included."""
    found = set()
    for top, inside in ((ROOT / "trm_deploy", ""), *((ROOT / layer, f"{layer}/") for layer in LAYERS)):
        for path in top.rglob("*.py"):
            relative = path.relative_to(top)
            if inside or relative.parts[0] not in LAYERS:  # these are links, for editors
                found.add(f"{inside}{relative}")
    return found


def test_the_wheel_holds_one_package_with_everything(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"trm_deploy"}
    assert wheel.stat().st_size < 20e6
    assert not any(name.endswith((".wasm", ".mjs")) for name in names), "ONNX Runtime Web comes from make web alone"
    modules = {name for name in names if name.endswith(".py")}
    # A package that pyproject.toml forgets is missing here; one too many there keeps the wheel from being made.
    assert modules == {f"trm_deploy/{name}" for name in module_files()}
    for needed in (
        "assets/sudoku.pt", "assets/sudoku.onnx", "assets/sudoku.onnx.json", "assets/sudoku-step.onnx",
        "assets/sudoku.onnx.golden.npz", "assets/sudoku-step.onnx.golden.npz",
        "assets/puzzles/sudoku-9x9.txt", "assets/models.toml",
        "train/recipes/sudoku.toml", "py.typed", "web/index.html", "web/trace.js", "web/trace.css", "web/examples.json",
    ):  # fmt: skip
        assert f"trm_deploy/{needed}" in names


def test_every_module_of_the_installed_wheel_imports(wheel: Path, tmp_path: Path) -> None:
    target = tmp_path / "site"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", target, wheel], check=True
    )
    code = (
        "import importlib, json, pkgutil, trm_deploy\n"
        "found = pkgutil.walk_packages(trm_deploy.__path__, 'trm_deploy.')\n"
        "names = [module.name for module in found if '__main__' not in module.name]\n"
        "files = [importlib.import_module(name).__file__ for name in names]\n"
        "print(json.dumps([names, files]))"
    )
    out = subprocess.check_output(
        [sys.executable, "-c", code], text=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(target)}
    )
    names, files = json.loads(out)
    modules = {name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for name in module_files()}
    assert set(names) == {f"trm_deploy.{name}" for name in modules - {"__init__", "__main__"}}
    assert all(Path(file).is_relative_to(target) for file in files)


@pytest.mark.slow
def test_the_wheel_with_the_onnx_extra_alone_solves_a_puzzle(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", f"{wheel}[onnx]"], check=True
    )
    assert subprocess.run([python, "-c", "import torch"], capture_output=True).returncode == 1
    command = str(tmp_path / "env" / "bin" / "trm-deploy")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    puzzle = str(ROOT / "examples" / "puzzle.txt")
    result = subprocess.run([command, "run", puzzle], capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert result.returncode == 0, result.stderr
    assert "verified: " in result.stdout
    # What needs torch says so, in one line.
    asset = str(ROOT / "trm_deploy" / "assets" / "sudoku.pt")
    refused = subprocess.run([command, "export", asset], capture_output=True, text=True, env=environment)
    assert refused.returncode == 4
    assert "torch is needed to export" in refused.stderr
    assert "pip install 'trm-deploy[export]'" in refused.stderr
