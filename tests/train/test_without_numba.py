"""numba makes puzzles and is needed for nothing else: recipes and training from a folder do without it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT
from tests.train.conftest import DATASET_RECIPE

# None in sys.modules makes every import of that name an ImportError.
WITHOUT = "import sys\nsys.modules['numba'] = None\n"


def python(code: str, *arguments: object, cache: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TRM_DEPLOY_CACHE": str(cache)}
    command = [sys.executable, "-c", WITHOUT + code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=300)


def trm(*arguments: object, cache: Path) -> subprocess.CompletedProcess[str]:
    return python("from trm_deploy.cli import main\nmain()", *arguments, cache=cache)


def test_every_recipe_loads_without_numba_and_without_torch(tmp_path: Path) -> None:
    code = (
        "sys.modules['torch'] = None\nfrom trm_deploy.train import recipe\n"
        "print(*[recipe.load(name).puzzle.name for name in recipe.shipped()])"
    )
    done = python(code, cache=tmp_path)
    assert done.stdout.split() == [
        "arc-8x8", "arc", "arc", "sudoku-9x9", "maze-12x12", "maze-30x30", "sudoku-4x4",
        *["sudoku-6x6"] * 5, *["sudoku-9x9"] * 3,
    ], done.stderr  # fmt: skip


def test_training_from_a_folder_needs_no_numba(tmp_path: Path, dataset: Path) -> None:
    (tmp_path / "recipe.toml").write_text(DATASET_RECIPE)
    run = tmp_path / "run"
    done = trm("train", tmp_path / "recipe.toml", "--data", dataset, "--output", run, cache=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (run / "ema.pt").exists()


def test_making_puzzles_says_that_it_needs_numba(tmp_path: Path) -> None:
    for arguments in (
        ("train", "sudoku-4x4", "--output", tmp_path / "run"),
        ("data", "build", "sudoku", "--size", "4x4", "--output", tmp_path / "run"),
        ("data", "build", "maze", "--size", "5x6", "--output", tmp_path / "run"),
    ):
        done = trm(*arguments, cache=tmp_path)
        assert done.returncode == 4, done.stderr
        assert "error: numba is needed to make" in done.stderr
        assert done.stderr.rstrip().endswith("type: pip install 'trm-deploy[train]'")
        assert not (tmp_path / "run").exists()
