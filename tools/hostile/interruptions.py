"""Commands ended at random moments, and what they leave."""

from __future__ import annotations

import collections
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from trm_deploy.artefacts import onnx_file, record
from trm_deploy.checkpoints import archive
from trm_deploy.errors import TrmDeployError

from .kinds import ASSETS, ROOT
from .reader import TIMEOUT_S

HEED_S = 10.0  # a signal may come when all is done but the last line

PUZZLES = str(ASSETS / "puzzles" / "sudoku-9x9.txt")
COMMANDS: dict[str, list[str]] = {
    "export": ["export", str(ASSETS / "sudoku.pt"), "-o", "out/s.onnx"],
    "data build": ["data", "build", "sudoku", "--size", "9x9", "--train", "3000", "--test", "100", "-o", "out"],
    "train": ["train", "recipe.toml", "-o", "out"],
    "parity": ["parity", str(ASSETS / "sudoku.pt"), str(ASSETS / "sudoku.onnx"), "--limit", "8"],
    "run": ["run", PUZZLES, "--png", "out"],
    "run to a file": ["run", *[PUZZLES] * 8, "-o", "answers.jsonl"],
    "tune": ["tune", "engine.onnx", PUZZLES, "--limit", "4", "--write", "--report", "out"],
    "benchmark": [
        "benchmark",
        str(ASSETS / "sudoku.pt"),
        "--limit",
        "2",
        "--only",
        "ort-step-fp32",
        "--png",
        "out.png",
    ],
}
RECIPE = """
data = { box_rows = 2, box_columns = 2, puzzles = 200, min_clues = 4, max_clues = 12 }
model = { preset = "trm-mlp", architecture = { hidden_size = 32, puzzle_embedding_size = 32 } }
optimizer = { warmup_steps = 2 }
training = { steps = 60, batch_size = 8, log_every = 2, checkpoint_every = 3, precision = "fp32" }
evaluation = { puzzles = 16, every = 20 }
"""


def start(command: str, folder: Path) -> subprocess.Popen[str]:
    """A command at work in a new folder, in a process group of its own as a terminal would have it."""
    folder.mkdir(parents=True)
    (folder / "recipe.toml").write_text(RECIPE)
    for name in ("sudoku-step.onnx", "sudoku-step.onnx.json"):
        shutil.copy(ASSETS / name, folder / name.replace("sudoku-step", "engine"))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TRM_DEPLOY_CACHE": str(folder / "cache")}
    environment["PYTHONPATH"] = str(ROOT)
    return subprocess.Popen(
        [sys.executable, "-m", "trm_deploy", *COMMANDS[command]],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env=environment,
        start_new_session=True,
        # Where this tool runs in a shell's background, it ignores Ctrl-C, and its children would too.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def interrupted(command: str, folder: Path, *, after_s: float, number: signal.Signals) -> str:
    """Start a command in a new folder, and end it `after_s` seconds later: see `ended`."""
    process = start(command, folder)
    try:
        process.communicate(timeout=after_s)
    except subprocess.TimeoutExpired:
        return ended(process, folder, number)
    return ended(process, folder, None)


def ended(process: subprocess.Popen[str], folder: Path, number: signal.Signals | None) -> str:
    """Send a signal to a command, Ctrl-C's to its whole group, and look at what is left.

    Returns:
        "ended", "done" where it was through before the signal came, or "failed" and what is wrong.
    """
    sent = time.monotonic()
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
    elif number is not None:
        process.send_signal(number)
    try:
        _, errors = process.communicate(timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return "failed: does not end"
    left = [str(path.relative_to(folder)) for path in folder.rglob("*.partial")]
    if left:
        return f"failed: leaves {left}"
    broken = list(_broken_files(folder))
    if broken:
        return f"failed: leaves {broken}"
    if number == signal.SIGINT and process.returncode == 128 + number and "interrupted" not in errors:
        return f"failed: does not say that it was interrupted: {errors[-500:]}"
    # Before Python has come to the command's first line, it ends itself by the signal: a shell calls that 128 + number.
    if number is not None and process.returncode in (128 + number, -number):
        return "ended"
    if number is not None and process.returncode == 0 and time.monotonic() - sent > HEED_S:
        return f"failed: went on to its end, {time.monotonic() - sent:.0f} s after the signal"
    return "done" if process.returncode == 0 else f"failed: exit code {process.returncode}: {errors[-500:]}"


def _broken_files(folder: Path) -> Iterator[str]:
    """Files under their own names that cannot be read."""
    for path in folder.rglob("*"):
        try:
            if path.suffix == ".onnx":
                onnx_file.read(path)
                record.read_matching(path)
            elif path.suffix == ".pt":
                archive.read_pickle(path)
            elif path.name == "dataset.json":
                from trm_deploy.train.data.layout import read_split

                read_split(path.parent.parent, path.parent.name)
            elif path.suffix in (".json", ".jsonl"):
                for line in [path.read_text()] if path.suffix == ".json" else path.read_text().splitlines():
                    json.loads(line)
        except (TrmDeployError, ValueError) as error:
            yield f"{path.name} ({error})"


def try_command(command: str, folder: Path, *, times: int, rng: np.random.Generator) -> dict[str, Any]:
    """Interrupt a command `times` times at random moments of its run, by Ctrl-C and by SIGTERM in turn."""
    begun = time.monotonic()
    whole = start(command, folder / "whole")
    _, errors = whole.communicate(timeout=10 * TIMEOUT_S)
    if whole.returncode:
        raise RuntimeError(f"{command} gives {errors}")
    seconds = time.monotonic() - begun
    counts: collections.Counter[str] = collections.Counter()
    failed = []
    for turn in range(3 * times):
        if counts.total() - counts["done"] == times:
            break
        number = signal.SIGTERM if turn % 3 == 2 else signal.SIGINT
        after = float(rng.uniform(0.1, 1.0)) * seconds
        begun = time.monotonic()
        outcome = interrupted(command, folder / str(turn), after_s=after, number=number)
        counts[outcome.partition(":")[0]] += 1
        if (
            outcome == "done" and time.monotonic() - begun < after
        ):  # on a machine with other work, a run is not as long as the one before
            seconds = min(seconds, time.monotonic() - begun)
        elif outcome.startswith("failed"):
            failed.append(f"{number.name} after {after:.2f} s of {seconds:.2f}: {outcome}")
    ended, done = counts["ended"], counts["done"]
    return {
        "command": command,
        "tried": counts.total(),
        "ended": ended,
        "done": done,
        "failed": len(failed),
        "failures": failed,
    }
