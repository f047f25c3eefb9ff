"""The property tests of tests/hostile/parsers, with more examples than the test suite takes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from .kinds import ROOT


def try_parsers(examples: int, folder: Path) -> list[dict[str, Any]]:
    """The property tests with that many examples each."""
    counts = folder / "examples.json"
    environment = {**os.environ, "TRM_DEPLOY_EXAMPLES": str(examples), "TRM_DEPLOY_EXAMPLE_COUNTS": str(counts)}
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "tests/hostile/parsers"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    failures = {name: done.stdout[-3000:] for name in re.findall(r"^FAILED .*::test_(\w+)", done.stdout, re.MULTILINE)}
    if done.returncode and not failures:
        raise RuntimeError(done.stdout[-3000:] + done.stderr[-1000:])
    return [
        {
            "parser": name.replace("_", " "),
            "examples": count,
            "failed": int(name in failures),
            "failures": [failures[name]] if name in failures else [],
        }
        for name, count in json.loads(counts.read_text()).items()
    ]
