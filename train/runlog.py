"""What a run writes down as it goes: metrics.jsonl, the same as a picture, and TensorBoard's events."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from trm_deploy.errors import require
from trm_deploy.support.files import atomic_path, write_atomic
from trm_deploy.train import run_folder


class RunLog:
    """The log of a run in its folder.

    Args:
        folder: the run's.
        step: optimiser steps done. What a killed run logged after its last checkpoint is dropped: it is about to be
            trained again.
    """

    def __init__(self, folder: Path, step: int) -> None:
        require("tensorboard", extra="train", purpose="to log a training run")
        from torch.utils.tensorboard import SummaryWriter

        self._metrics = folder / run_folder.METRICS
        self._curves = folder / run_folder.CURVES
        lines = [line for line in read_metrics(self._metrics) if line["step"] <= step]
        write_atomic(self._metrics, "".join(json.dumps(line) + "\n" for line in lines))
        self._events = SummaryWriter(str(folder / run_folder.EVENTS), purge_step=step + 1)

    def record(self, line: dict[str, Any]) -> None:
        """One line of metrics; `step` is the optimiser step."""
        with self._metrics.open("a") as file:
            file.write(json.dumps({k: round(v, 6) if isinstance(v, float) else v for k, v in line.items()}) + "\n")
        for name, value in line.items():
            if name != "step":
                group = "evaluation" if name.startswith("held_out") else "training"
                self._events.add_scalar(f"{group}/{name}", value, line["step"])

    def draw(self) -> None:
        """The curves so far as a PNG."""
        plot(self._metrics, self._curves)

    def flush(self) -> None:
        """Bring the events to the disk."""
        self._events.flush()

    def close(self) -> None:
        """Write what is left of the events."""
        self._events.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The complete lines of a metrics file; a run killed while writing leaves at most one incomplete."""
    if not path.exists():
        return []
    lines = path.read_text("utf-8").split("\n")[:-1]
    return [json.loads(line) for line in lines]


def summary(metrics: Path) -> str:
    """What a run came to: optimiser steps, time, and the result on the puzzles kept out of training."""
    lines = read_metrics(metrics)
    if not lines:
        return "no step is logged"
    text = f"{lines[-1]['step']:,} steps in {timedelta(seconds=round(lines[-1]['seconds']))}"
    results = [line for line in lines if "held_out_solved" in line]
    if results:
        solved, steps = results[-1]["held_out_solved"], results[-1]["held_out_mean_steps"]
        text += f", {solved:.1%} of the held-out puzzles solved in {steps:.1f} supervision steps on average"
    return text


def plot(metrics: Path, output: Path) -> None:
    """Draw loss, solved share and mean steps against optimiser steps as a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    lines = read_metrics(metrics)
    figure, axes = pyplot.subplots(1, 3, figsize=(13, 3.6), layout="constrained")
    for axis, title, keys in zip(
        axes,
        ("loss", "solved share", "mean supervision steps"),
        (("answer_loss", "halting_loss"), ("solved", "held_out_solved"), ("mean_steps", "held_out_mean_steps")),
    ):
        for key in keys:
            points = [(line["step"], line[key]) for line in lines if key in line]
            if points:
                axis.plot(*np.array(points).T, label=key.replace("_", " "))
        axis.set(xlabel="optimiser step", title=title)
        axis.grid(alpha=0.3)
        axis.legend()
    with atomic_path(output) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
    pyplot.close(figure)
