"""What tuning the schedule found: as data, as text, as a page, as a picture."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from trm_deploy.evaluation.tuning.schedules import CLOSE, Outcome
from trm_deploy.support.figures import require_matplotlib, write_figure
from trm_deploy.support.report_page import write_report

SCHEMA = 1
COLOURS = {"fixed": "#d95f02", "Luby": "#333333", "geometric": "#7aa6c2"}


@dataclass(frozen=True)
class TunedSchedule:
    """What each schedule gives, and which is recommended.

    Attributes:
        engine: its file.
        description: runtime, graph form and precision.
        puzzles: their number.
        halt_threshold: an attempt ends when its halting logit exceeds it.
        mean_steps: supervision steps a puzzle that may be spent, on average; None: any number.
        now: what the schedule in force gives.
        recommended: what the recommended one gives.
        outcomes: every schedule that was compared.
        notes: what else a reader has to know.
    """

    engine: str
    description: str
    puzzles: int
    halt_threshold: float
    mean_steps: float | None
    now: Outcome
    recommended: Outcome
    outcomes: list[Outcome]
    notes: list[str] = field(default_factory=list)

    def to_plain(self) -> dict[str, Any]:
        """The comparison as JSON values."""
        return {"schema": SCHEMA, **asdict(self)}

    def rows(self) -> list[tuple[str, Outcome]]:
        """The best schedule of each number of attempts in each kind, and those with a name, each with its remark."""
        best: dict[tuple[str, int], Outcome] = {}
        for found in self.outcomes:
            key = (found.family.split()[0], found.attempts)
            if key not in best or (-found.verified, found.steps) < (-best[key].verified, best[key].steps):
                best[key] = found
        named = [("now", self.now), ("recommended", self.recommended)]
        plain = [("", found) for found in best.values() if found not in (self.now, self.recommended)]
        return sorted([*plain, *named], key=lambda row: (row[1].verified, -row[1].steps))

    def table(self) -> str:
        """The comparison as text for a terminal."""
        lines = [
            f"{self.engine} ({self.description}), {self.puzzles} puzzles, halting threshold {self.halt_threshold:g}",
            "",
            f"{'attempts':>8} {'steps of each':24} {'verified':>8} {'steps a puzzle':>15}",
        ]
        for remark, found in self.rows():
            line = f"{found.attempts:>8} {in_words(found):24} {found.verified:>8.1%} {found.steps:>15.2f}"
            lines.append(f"{line}  {remark}".rstrip())
        return "\n".join([*lines, "", self.sentence(), *(f"note: {note}" for note in self.notes)])

    def sentence(self) -> str:
        """What is recommended and why."""
        best = self.recommended
        within = "" if self.mean_steps is None else f" within {self.mean_steps:g} steps a puzzle"
        steps = ",".join(map(str, best.attempt_steps))
        return (
            f"recommended, the fewest steps within {CLOSE:g} points of the most verified{within}: --attempts"
            f" {best.attempts} --attempt-steps {steps} ({best.verified:.1%} verified in {best.steps:.2f} steps a"
            f" puzzle; now {self.now.verified:.1%} in {self.now.steps:.2f})"
        )

    def markdown(self, picture: str) -> str:
        """The comparison as a page that shows a picture."""
        lines = [
            f"# Schedule of attempts for {Path(self.engine).name}",
            "",
            f"{self.description}, {self.puzzles} puzzles; {self.sentence()}.",
            "",
            "| attempts | steps of each | verified | steps a puzzle | |",
            "| --- | --- | --- | --- | --- |",
        ]
        for remark, found in self.rows():
            lines.append(
                f"| {found.attempts} | {in_words(found)} | {found.verified:.1%} | {found.steps:.2f} | {remark} |"
            )
        notes = [f"Note: {note}." for note in self.notes]
        return "\n".join([*lines, "", *notes, f"![verified share against steps]({picture})"]) + "\n"

    def write(self, folder: Path) -> None:
        """schedule.md, schedule.json, schedule.png, and report.html with all of it, in a folder.

        Raises:
            MissingPackage: matplotlib or markdown-it-py is not installed.
            TrmDeployError: the folder cannot be written.
        """
        self.write_png(folder / "schedule.png")
        write_report(folder, "schedule", self.markdown("schedule.png"), self.to_plain())

    def write_png(self, path: Path) -> None:
        """Verified share against steps a puzzle, a line a schedule that grows by attempts.

        Raises:
            MissingPackage: matplotlib is not installed.
            TrmDeployError: the file cannot be written.
        """
        require_matplotlib()
        write_figure(path, self._draw, width=8.0, height=5.0)

    def _draw(self, figure: Any) -> None:
        axis = figure.subplots()
        families: dict[str, list[Outcome]] = {}
        for found in self.outcomes:
            families.setdefault(found.family, []).append(found)
        labelled: set[str] = set()
        for name, found_ones in families.items():
            kind = name.split()[0]
            axis.plot(
                [found.steps for found in found_ones],
                [100 * found.verified for found in found_ones],
                ".-",
                color=COLOURS[kind],
                alpha=0.5,
                linewidth=0.8,
                label=None if kind in labelled else kind,
            )
            labelled.add(kind)
        for word, found, marker in (("now", self.now, "o"), ("recommended", self.recommended, "D")):
            label = f"{word}: {found.attempts} x {in_words(found)}, {found.verified:.1%} in {found.steps:.2f}"
            axis.plot([found.steps], [100 * found.verified], marker, color="#1b7837", markersize=8, label=label)
        axis.set_xscale("log")
        axis.set_xlabel("supervision steps a puzzle, of all attempts")
        axis.set_ylabel("puzzles verified, %")
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8, loc="lower right")
        axis.set_title(f"{Path(self.engine).name}: {self.description}, {self.puzzles} puzzles", fontsize=10)


def in_words(found: Outcome) -> str:
    """The steps of a schedule's attempts, shortened where there are many numbers."""
    steps = [str(number) for number in found.attempt_steps]
    return ",".join(steps) if len(steps) <= 6 else f"{','.join(steps[:5])},... ({found.family})"
