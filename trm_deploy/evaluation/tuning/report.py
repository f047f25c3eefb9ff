"""What tuning found: as data, as text, as a page, as a picture."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from trm_deploy.evaluation.tuning.passes import Point
from trm_deploy.support.figures import require_matplotlib, write_figure
from trm_deploy.support.report_page import write_report

SCHEMA = 1
TABLE_ROWS = 16


@dataclass(frozen=True)
class Tuned:
    """The trade-off, and what is recommended.

    Attributes:
        engine: its file.
        description: runtime, graph form and precision.
        puzzles: their number.
        max_steps: maximum number of supervision steps.
        max_loss, budget: points of the solved share that may be lost; mean steps a puzzle that may be spent.
        never: what halting off gives.
        now: what the threshold in force gives.
        recommended: what the recommended threshold gives.
        curve: a point a threshold, from low to high.
        notes: what else a reader has to know.
    """

    engine: str
    description: str
    puzzles: int
    max_steps: int
    max_loss: float | None
    budget: float | None
    never: Point
    now: Point
    recommended: Point
    curve: list[Point]
    notes: list[str] = field(default_factory=list)

    def to_plain(self) -> dict[str, Any]:
        """The trade-off as JSON values."""
        return {"schema": SCHEMA, **asdict(self)}

    def rows(self) -> list[tuple[str, Point]]:
        """A few thresholds across the range of mean steps, and those with a name, each with its remark."""
        steps = np.array([point.mean_steps for point in self.curve])
        wanted = np.linspace(steps.min(), steps.max(), TABLE_ROWS - 3)
        chosen = {int(np.abs(steps - want).argmin()) for want in wanted}
        named = [("now", self.now), ("recommended", self.recommended)]
        plain = [("", self.curve[place]) for place in chosen]
        plain = [entry for entry in plain if entry[1] not in (self.now, self.recommended)]
        return [*sorted([*named, *plain], key=lambda entry: entry[1].threshold), ("halting off", self.never)]

    def table(self) -> str:
        """The trade-off as text for a terminal."""
        lines = [f"{self.engine} ({self.description}), {self.puzzles} puzzles, up to {self.max_steps} steps", ""]
        lines.append(f"{'threshold':>10} {'solved':>7} {'mean steps':>11} {'halted wrong':>13}")
        for remark, point in self.rows():
            line = (
                f"{point.threshold:>10.4g} {point.solved:>7.1%} {point.mean_steps:>11.2f} {point.halted_wrong:>13.1%}"
            )
            lines.append(f"{line}  {remark}".rstrip())
        return "\n".join([*lines, "", self.sentence(), *(f"note: {note}" for note in self.notes)])

    def sentence(self) -> str:
        """What is recommended and why."""
        limits = []
        if self.max_loss is not None:
            limits.append(f"at most {self.max_loss:g} points below the best threshold")
        if self.budget is not None:
            limits.append(f"at most {self.budget:g} steps a puzzle")
        best = self.recommended
        return (
            f"recommended for {' and '.join(limits)}: --halt-threshold {best.threshold:g}"
            f" ({best.solved:.1%} solved in {best.mean_steps:.2f} steps)"
        )

    def markdown(self, picture: str) -> str:
        """As a page that shows a picture."""
        lines = [
            f"# Halting threshold of {Path(self.engine).name}",
            "",
            f"{self.description}, {self.puzzles} puzzles, up to {self.max_steps} supervision steps; {self.sentence()}.",
            "",
            *(line for note in self.notes for line in (f"Note: {note}.", "")),
            "| threshold | solved | mean steps | halted on a wrong answer | |",
            "| --- | --- | --- | --- | --- |",
        ]
        for remark, point in self.rows():
            lines.append(
                f"| {point.threshold:.4g} | {point.solved:.1%} | {point.mean_steps:.2f} | {point.halted_wrong:.1%}"
                f" | {remark} |"
            )
        return "\n".join([*lines, "", f"![solved share against mean steps]({picture})"]) + "\n"

    def write(self, folder: Path) -> None:
        """tune.md, tune.json, tune.png, and report.html with all of it, in a folder.

        Raises:
            MissingPackage: matplotlib or markdown-it-py is not installed.
            TrmDeployError: the folder cannot be written.
        """
        self.write_png(folder / "tune.png")
        write_report(folder, "tune", self.markdown("tune.png"), self.to_plain())

    def write_png(self, path: Path) -> None:
        """Solved share against mean steps.

        Raises:
            MissingPackage: matplotlib is not installed.
            TrmDeployError: the file cannot be written.
        """
        require_matplotlib()
        write_figure(path, self._draw, width=7.5, height=4.5)

    def _draw(self, figure: Any) -> None:
        axis = figure.subplots()
        steps = [point.mean_steps for point in self.curve]
        axis.plot(steps, [100 * point.solved for point in self.curve], "-", color="#7aa6c2", label="every threshold")
        named = (
            ("now", self.now, "o", "#333333"),
            ("recommended", self.recommended, "D", "#d95f02"),
            ("halting off", self.never, "s", "#7aa6c2"),
        )
        for word, point, marker, colour in named:
            threshold = "" if math.isinf(point.threshold) else f" (threshold {point.threshold:g})"
            shown = f"{word}{threshold}: {point.solved:.1%} in {point.mean_steps:.2f} steps"
            axis.plot([point.mean_steps], [100 * point.solved], marker, color=colour, markersize=8, label=shown)
        if self.budget is not None:
            axis.axvline(self.budget, color="#333333", linewidth=1, linestyle=":", label=f"{self.budget:g} steps")
        axis.set_xlabel("mean supervision steps a puzzle")
        axis.set_ylabel("puzzles solved, %")
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8, loc="lower right")
        axis.set_title(f"{Path(self.engine).name}: {self.description}, {self.puzzles} puzzles", fontsize=10)
