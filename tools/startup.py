"""How long commands take to start, and which imports take the most of it."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
ASSETS = ROOT / "trm_deploy" / "assets"
REPEATS = 5
COMMANDS = {
    "--help": ["--help"],
    "doctor": ["doctor"],
    "inspect, ONNX": ["inspect", str(ASSETS / "sudoku.onnx")],
    "inspect, checkpoint": ["inspect", str(ASSETS / "sudoku.pt")],
    "run, ONNX": ["run", str(ROOT / "examples" / "puzzle.txt"), "--quiet"],
}
PACKAGES = 6


def seconds(command: list[str]) -> float:
    """The best of some runs of a command in a process of its own."""
    best = float("inf")
    for _ in range(REPEATS):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", "trm_deploy", *command], check=True, capture_output=True, cwd=ROOT)
        best = min(best, time.perf_counter() - started)
    return best


def imports(command: list[str]) -> dict[str, float]:
    """Top-level package -> seconds that its own modules take to import in one run, the slowest first."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "trm_deploy", *command], capture_output=True, text=True, cwd=ROOT
    )
    total: dict[str, float] = {}
    for own, module in re.findall(r"^import time: +(\d+) \| +\d+ \| +(\S+)$", done.stderr, re.MULTILINE):
        package = module.partition(".")[0]
        total[package] = total.get(package, 0.0) + int(own) / 1e6
    return dict(sorted(total.items(), key=lambda item: -item[1]))


def main() -> None:
    """Print a line a command."""
    for name, command in COMMANDS.items():
        slowest = list(imports(command).items())[:PACKAGES]
        words = ", ".join(f"{package} {taken:.2f}" for package, taken in slowest)
        print(f"{name:20} {seconds(command):.2f} s; imports: {words}", flush=True)


if __name__ == "__main__":
    main()
