"""The command line does without what macOS and Windows lack of Linux, as far as Linux can show it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT

TOOL = ROOT / "tools" / "portable.py"


def test_without_what_other_systems_lack(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, str(TOOL), "--without-posix"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.endswith("all of it holds\n")


def test_the_trial_from_a_report(tmp_path: Path) -> None:
    """As it was typed: the one call is taken away that macOS lacks."""
    code = "import os, sys; del os.sched_getaffinity; from trm_deploy.cli import main; main()"
    ran = subprocess.run(
        [sys.executable, "-c", code, "run", str(ROOT / "examples" / "puzzle.txt"), "--json"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    assert '"verified": true' in ran.stdout
