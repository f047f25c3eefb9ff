"""What a benchmark found: as data, as JSON, as a table, as a picture."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from trm_deploy.support.figures import require_matplotlib
from trm_deploy.support.files import atomic_path
from trm_deploy.support.report_page import write_report

SCHEMA = 1
# Solved shares that differ by less are as good, in points: the issue of being fast by being wrong begins beyond.
AS_GOOD = 1.0


# What the columns of the table mean.
LEGEND = (
    "one puzzle: milliseconds for a puzzle alone, the median and what 95 % of the puzzles stay below",
    "in batches: puzzles at a time; puzzles a second, the median of the repeats; spread, largest less smallest of them",
    "solved: share of right answers of one attempt; mean steps: its supervision steps a puzzle",
    "by schedule: maximum attempts x supervision steps of each, as run solves puzzles; 1 x 16 without halting is the"
    " published evaluation",
    "verified: share of puzzles whose answer obeys the rules after all attempts, and those a second; steps: supervision"
    " steps a puzzle; in vain: steps that idle slots computed ahead of their turn and nobody needed",
    "share of limit: of the fastest matrix products above, what the steps that counted reach: in batches with one"
    " attempt, by schedule, and with one puzzle",
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
        precision: what it computes in, as the flag names it.
        batch: puzzles at a time, of `puzzles_per_second`.
        latency_ms_p50, latency_ms_p95: of one puzzle alone: median, and what 95 % stay below.
        puzzles_per_second: median over the repeats.
        spread: of it: largest less smallest, as a share of the median.
        solved: share of the puzzles whose answer obeys the rules, 0 to 1, of one attempt.
        mean_steps: supervision steps a puzzle, of one attempt.
        limit_share: FLOP of those steps, by time, as a share of the machine's fastest matrix products, 0 to 1.
        limit_share_alone: the same of one puzzle at a time.
        schedule: maximum number of attempts x supervision steps of each, for what follows.
        verified: share of the puzzles whose answer obeys the rules after all attempts, 0 to 1.
        verified_per_second: those a second, median over the repeats.
        steps_per_puzzle: supervision steps of all attempts up to the one shown, a puzzle.
        speculative_steps: supervision steps computed in vain in one repeat, see `Work`.
        limit_share_schedule: as `limit_share`, of the steps by schedule that were not in vain.
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
    schedule: str
    verified: float
    verified_per_second: float
    steps_per_puzzle: float
    speculative_steps: int
    limit_share_schedule: float


@dataclass(frozen=True)
class BenchmarkReport:
    """The whole benchmark.

    Attributes:
        machine: what it ran on.
        puzzles: their number.
        repeats: number of times that each measurement in batches was repeated.
        max_steps, halt_threshold: as for `Runtime.solve`, of one attempt.
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
        """The fastest: alone by the latency of one puzzle, of those that solve as much as the first row; else by
        verified puzzles a second, of those that verify as much as the best.
        """
        if alone:
            good = [row for row in self.rows if row.solved >= self.rows[0].solved - AS_GOOD / 100]
            return min(good, key=lambda row: row.latency_ms_p50)
        most = max(row.verified for row in self.rows)
        good = [row for row in self.rows if row.verified >= most - AS_GOOD / 100]
        return max(good, key=lambda row: row.verified_per_second)

    def table(self) -> str:
        """The results as text for a terminal."""
        rates = ", ".join(f"{rate:.0f} GFLOP/s {precision}" for precision, rate in self.gemm_gflops.items())
        lines = [
            f"{_count(self.puzzles, 'puzzle')}, up to {_count(self.max_steps, 'step')}, halting threshold"
            f" {self.halt_threshold:g}, {_count(self.repeats, 'repeat')}; a step takes {self.step_gflop:.3g} GFLOP",
            f"matrix products of the model's shapes: {rates}",
            "",
            f"{'one attempt':30} {'one puzzle, ms':>16}  {'in batches':>30}  {'':>7} {'mean':>6}"
            f" {'share of limit':>15}",
            f"{'':30} {'median':>8} {'95 %':>7}  {'of':>5} {'puzzles/s':>12} {'spread':>11}  {'solved':>7}"
            f" {'steps':>6} {'batch':>7} {'one':>7}",
        ]
        for row in self.rows:
            lines.append(
                f"{row.name:30} {row.latency_ms_p50:>8.1f} {row.latency_ms_p95:>7.1f}  {row.batch:>5}"
                f" {row.puzzles_per_second:>12.2f} {row.spread:>11.0%}  {row.solved:>7.1%} {row.mean_steps:>6.2f}"
                f" {row.limit_share:>7.0%} {row.limit_share_alone:>7.0%}"
            )
        lines += [
            "",
            f"{'by schedule':30} {'':>24}  {'verified':>8} {'verified/s':>11} {'steps':>7} {'in vain':>8}"
            f" {'share of limit':>15}",
        ]
        for row in self.rows:
            lines.append(
                f"{row.name:30} {row.schedule:>24}  {row.verified:>8.1%} {row.verified_per_second:>11.2f}"
                f" {row.steps_per_puzzle:>7.2f} {row.speculative_steps:>8} {row.limit_share_schedule:>15.0%}"
            )
        lines += ["", *LEGEND]
        for what, row in (("one puzzle", self.fastest(alone=True)), ("many puzzles", self.fastest(alone=False))):
            lines += ["", f"fastest for {what}: {row.name}"]
            if row.name in self.commands:
                batch = "" if what == "one puzzle" else f" --batch {row.batch}"
                lines.append(f"  {self.commands[row.name]}{batch} PUZZLES")
        return "\n".join(lines)

    def markdown(self, picture: str) -> str:
        """The results as a page that shows a picture."""
        rates = ", ".join(f"{rate:.0f} GFLOP/s {precision}" for precision, rate in self.gemm_gflops.items())
        versions = self.machine.get("versions", {})
        machine = [f"{name} {value}" for name, value in {**self.machine, **versions}.items() if name != "versions"]
        lines = [
            "# Ways to run a model",
            "",
            f"{_count(self.puzzles, 'puzzle')}, up to {_count(self.max_steps, 'step')}, halting threshold"
            f" {self.halt_threshold:g}, {_count(self.repeats, 'repeat')}; a step takes {self.step_gflop:.3g} GFLOP,"
            f" matrix products of the model's shapes run at {rates}. Machine:"
            f" {', '.join(machine)}.",
            "",
        ]
        for what, row in (("one puzzle", self.fastest(alone=True)), ("many puzzles", self.fastest(alone=False))):
            lines += [f"Fastest for {what}: **{row.name}**.", ""]
            if row.name in self.commands:
                batch = "" if what == "one puzzle" else f" --batch {row.batch}"
                lines += [f"    {self.commands[row.name]}{batch} PUZZLES", ""]
        lines += [
            "## One attempt",
            "",
            "| way | one puzzle, ms | 95 % below, ms | batch | puzzles/s | spread | solved | mean steps"
            " | share of limit, batch | share of limit, one |",
            "|" + " --- |" * 10,
        ]
        lines += [
            f"| {row.name} | {row.latency_ms_p50:.1f} | {row.latency_ms_p95:.1f} | {row.batch}"
            f" | {row.puzzles_per_second:.2f} | {row.spread:.0%} | {row.solved:.1%} | {row.mean_steps:.2f}"
            f" | {row.limit_share:.0%} | {row.limit_share_alone:.0%} |"
            for row in self.rows
        ]
        lines += [
            "",
            "## By schedule",
            "",
            "| way | schedule | verified | verified/s | steps | in vain | share of limit |",
            "|" + " --- |" * 7,
        ]
        lines += [
            f"| {row.name} | {row.schedule} | {row.verified:.1%} | {row.verified_per_second:.2f}"
            f" | {row.steps_per_puzzle:.2f} | {row.speculative_steps} | {row.limit_share_schedule:.0%} |"
            for row in self.rows
        ]
        lines += ["", f"![verified puzzles a second, throughput and latency]({picture})", ""]
        return "\n".join([*lines, *(f"- {line}" for line in LEGEND)]) + "\n"

    def write(self, folder: Path) -> None:
        """report.md, benchmark.png, report.html with both, and report.json in a folder.

        Raises:
            MissingPackage: matplotlib or markdown-it-py is not installed.
            TrmDeployError: the folder cannot be written.
        """
        self.write_png(folder / "benchmark.png")
        write_report(folder, "report", self.markdown("benchmark.png"), self.to_plain())

    def write_png(self, path: Path) -> None:
        """Verified puzzles a second, throughput of one attempt and latency as bars.

        Raises:
            MissingPackage: matplotlib is not installed.
            TrmDeployError: the file cannot be written.
        """
        require_matplotlib()
        from matplotlib.figure import Figure

        figure = Figure(figsize=(13, 1.6 + 0.42 * len(self.rows)), dpi=110, layout="constrained")
        names = [row.name for row in self.rows]
        verified, rates, latencies = figure.subplots(1, 3, sharey=True)
        for axes, values, title, form in (
            (verified, [row.verified_per_second for row in self.rows], "verified puzzles a second", "{:.1f}"),
            (rates, [row.puzzles_per_second for row in self.rows], "puzzles a second, one attempt", "{:.1f}"),
            (latencies, [row.latency_ms_p50 for row in self.rows], "one puzzle, ms (median)", "{:.0f}"),
        ):
            bars = axes.barh(names, values, color="tab:blue")
            axes.bar_label(bars, [form.format(value) for value in values], padding=3)
            axes.set_xlabel(title)
            axes.margins(x=0.15)
            axes.spines[["top", "right"]].set_visible(False)
        verified.invert_yaxis()
        labels = [
            f"{row.name}\nbatch {row.batch}, {row.schedule}, {row.verified:.1%} verified,"
            f" {row.steps_per_puzzle:.1f} steps"
            for row in self.rows
        ]
        verified.set_yticks(range(len(names)), labels, fontsize=8)
        figure.suptitle(f"{self.puzzles} puzzles, {self.machine.get('processor', '')}", fontsize=10)
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format="png")
