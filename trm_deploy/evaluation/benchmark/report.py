"""What a benchmark found: as data, as JSON, as a table, as a picture."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from trm_deploy.support.figures import require_matplotlib
from trm_deploy.support.files import atomic_path

SCHEMA = 1
# Solved shares that differ by less are as good, in points: the issue of being fast by being wrong begins beyond.
AS_GOOD = 1.0


# What the columns of the table mean.
LEGEND = (
    "one puzzle: milliseconds for a puzzle alone, the median and what 95 % of the puzzles stay below",
    "in batches: puzzles at a time; puzzles a second, the median of the repeats; spread, largest less smallest of them",
    "solved: share of right answers; mean steps: supervision steps a puzzle",
    "share of limit: of the fastest matrix products above, what the steps reach in batches and with one puzzle",
)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


@dataclass(frozen=True)
class Row:
    """One way to run the model.

    Attributes:
        name: the candidate's.
        runtime: what computes.
        graph: its form.
        precision: as the flag names it.
        batch: puzzles at a time, of `puzzles_per_second`.
        latency_ms_p50, latency_ms_p95: of one puzzle alone: median, and what 95 % stay below.
        puzzles_per_second: median over the repeats.
        spread: of it: largest less smallest, as a share of the median.
        solved: share of the puzzles whose answer obeys the rules, 0 to 1.
        mean_steps: supervision steps a puzzle.
        limit_share: FLOP of those steps, by time, as a share of the machine's fastest matrix products, 0 to 1.
        limit_share_alone: the same of one puzzle at a time.
    """

    name: str
    runtime: str
    graph: str
    precision: str
    batch: int
    latency_ms_p50: float
    latency_ms_p95: float
    puzzles_per_second: float
    spread: float
    solved: float
    mean_steps: float
    limit_share: float
    limit_share_alone: float


@dataclass(frozen=True)
class BenchmarkReport:
    """The whole benchmark.

    Attributes:
        machine: what it ran on.
        puzzles: their number.
        repeats: number of times that each measurement in batches was repeated.
        max_steps, halt_threshold: as for `Runtime.solve`.
        step_gflop: GFLOP of one supervision step of one puzzle.
        gemm_gflops: GFLOP a second of matrix products of the model's shapes, by precision.
        rows: in the order in which they were measured.
        commands: that run puzzles so, by name of the row.
    """

    machine: dict[str, Any]
    puzzles: int
    repeats: int
    max_steps: int
    halt_threshold: float
    step_gflop: float
    gemm_gflops: dict[str, float]
    rows: list[Row] = field(default_factory=list)
    commands: dict[str, str] = field(default_factory=dict)

    def to_plain(self) -> dict[str, Any]:
        """The results as JSON values."""
        return {"schema": SCHEMA, **asdict(self)}

    def fastest(self, *, alone: bool) -> Row:
        """The fastest of those that solve as much as the first, by latency of one puzzle or by throughput."""
        good = [row for row in self.rows if row.solved >= self.rows[0].solved - AS_GOOD / 100]
        if alone:
            return min(good, key=lambda row: row.latency_ms_p50)
        return max(good, key=lambda row: row.puzzles_per_second)

    def table(self) -> str:
        """The results as text for a terminal."""
        rates = ", ".join(f"{rate:.0f} GFLOP/s {precision}" for precision, rate in self.gemm_gflops.items())
        lines = [
            f"{_count(self.puzzles, 'puzzle')}, up to {_count(self.max_steps, 'step')}, halting threshold"
            f" {self.halt_threshold:g}, {_count(self.repeats, 'repeat')}; a step takes {self.step_gflop:.3g} GFLOP",
            f"matrix products of the model's shapes: {rates}",
            "",
            f"{'':30} {'one puzzle, ms':>16}  {'in batches':>30}  {'':>7} {'mean':>6} {'share of limit':>15}",
            f"{'':30} {'median':>8} {'95 %':>7}  {'of':>5} {'puzzles/s':>12} {'spread':>11}  {'solved':>7}"
            f" {'steps':>6} {'batch':>7} {'one':>7}",
        ]
        for row in self.rows:
            lines.append(
                f"{row.name:30} {row.latency_ms_p50:>8.1f} {row.latency_ms_p95:>7.1f}  {row.batch:>5}"
                f" {row.puzzles_per_second:>12.2f} {row.spread:>11.0%}  {row.solved:>7.1%} {row.mean_steps:>6.2f}"
                f" {row.limit_share:>7.0%} {row.limit_share_alone:>7.0%}"
            )
        lines += ["", *LEGEND]
        for what, row in (("one puzzle", self.fastest(alone=True)), ("many puzzles", self.fastest(alone=False))):
            lines += ["", f"fastest for {what}: {row.name}"]
            if row.name in self.commands:
                batch = "" if what == "one puzzle" else f" --batch {row.batch}"
                lines.append(f"  {self.commands[row.name]}{batch} PUZZLES")
        return "\n".join(lines)

    def write_png(self, path: Path) -> None:
        """Throughput and latency as bars.

        Raises:
            MissingPackage: matplotlib is not installed.
            TrmDeployError: the file cannot be written.
        """
        require_matplotlib()
        from matplotlib.figure import Figure

        figure = Figure(figsize=(10, 1.6 + 0.42 * len(self.rows)), dpi=110, layout="constrained")
        names = [row.name for row in self.rows]
        rates, latencies = figure.subplots(1, 2, sharey=True)
        for axes, values, title, form in (
            (rates, [row.puzzles_per_second for row in self.rows], "puzzles a second, in batches", "{:.1f}"),
            (latencies, [row.latency_ms_p50 for row in self.rows], "one puzzle, ms (median)", "{:.0f}"),
        ):
            bars = axes.barh(names, values, color="tab:blue")
            axes.bar_label(bars, [form.format(value) for value in values], padding=3)
            axes.set_xlabel(title)
            axes.margins(x=0.15)
            axes.spines[["top", "right"]].set_visible(False)
        rates.invert_yaxis()
        labels = [f"{row.name}\nbatch {row.batch}, {row.solved:.1%} solved" for row in self.rows]
        rates.set_yticks(range(len(names)), labels, fontsize=8)
        figure.suptitle(f"{self.puzzles} puzzles, {self.machine.get('processor', '')}", fontsize=10)
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format="png")
