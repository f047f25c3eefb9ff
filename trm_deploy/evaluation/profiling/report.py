"""The results of a profile: a table, JSON, a PNG file."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trm_deploy.artefacts.layer_groups import GROUPS
from trm_deploy.evaluation.profiling.attribution import AND, UNKNOWN
from trm_deploy.support.figures import write_figure

SCHEMA = 1
HOST = "host"
# Of a group's operators, those that take less of the whole are not in the table; they are in the JSON.
SHOWN_SHARE = 0.005


@dataclass(frozen=True)
class Operator:
    """What one operator costs in one layer group.

    Attributes:
        name: as the runtime calls it, with the sizes of a product's weight.
        milliseconds: of a supervision step of the whole batch.
        share: of the step's time, 0 to 1.
    """

    name: str
    milliseconds: float
    share: float


@dataclass(frozen=True)
class Group:
    """What a layer group costs; `milliseconds` and `share` as for `Operator`.

    Attributes:
        name: of the group.
        operators: the most expensive first.
    """

    name: str
    milliseconds: float
    share: float
    operators: tuple[Operator, ...] = ()


@dataclass(frozen=True)
class ProfileReport:
    """Where the time goes.

    Attributes:
        machine: what it ran on.
        artefact: the file.
        runtime: what computes, with graph form and precision.
        backend: name of its row in `trm_deploy.runtimes.registry`.
        arithmetic: what products are computed in.
        method: what timed the layers.
        batch: puzzles at a time.
        steps: supervision steps that were timed.
        step_ms: milliseconds of a supervision step of the batch, with the profiler on.
        step_ms_unprofiled: the same without it.
        groups: in the order of the model, host time last; they add up to `step_ms`.
        notes: what a reader has to know.
    """

    machine: dict[str, Any]
    artefact: str
    runtime: str
    backend: str
    arithmetic: str
    method: str
    batch: int
    steps: int
    step_ms: float
    step_ms_unprofiled: float
    groups: tuple[Group, ...]
    notes: tuple[str, ...] = ()

    def to_plain(self) -> dict[str, Any]:
        """The results as JSON values."""
        return {"schema": SCHEMA, **asdict(self)}

    def table(self) -> str:
        """The results as text for a terminal."""
        width = max(len(group.name) for group in self.groups)
        lines = [
            f"{self.artefact}: {self.runtime}, products in {self.arithmetic}",
            f"a supervision step of {self.batch} {'puzzle' if self.batch == 1 else 'puzzles'}:"
            f" {self.step_ms:.2f} ms, {self.step_ms_unprofiled:.2f} ms without the profiler; mean of"
            f" {self.steps} steps",
            "",
            f"{'layer group':{width}} {'ms':>8} {'share':>7}  of the whole",
        ]
        for group in self.groups:
            operators = ", ".join(
                f"{operator.name} {operator.share:.1%}" for operator in group.operators if operator.share >= SHOWN_SHARE
            )
            lines.append(f"{group.name:{width}} {group.milliseconds:>8.3f} {group.share:>7.1%}  {operators}".rstrip())
        lines += ["", f"timed by {self.method}; {HOST}: what the caller waited less all that the profiler saw"]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])

    def write_png(self, path: Path) -> None:
        """A bar a layer group, of its operators.

        Raises:
            MissingPackage: matplotlib is not installed.
            TrmDeployError: the file cannot be written.
        """

        def draw(figure: Any) -> None:
            axes = figure.subplots()
            names = [group.name for group in self.groups]
            axes.barh(names, [group.milliseconds for group in self.groups], color="tab:blue", alpha=0.5)
            for row, group in enumerate(self.groups):
                start = 0.0
                for operator in group.operators:
                    axes.barh(row, operator.milliseconds, left=start, color="none", edgecolor="white")
                    if operator.share > 0.05:
                        middle = start + operator.milliseconds / 2
                        axes.text(middle, row, operator.name, ha="center", va="center", fontsize=6)
                    start += operator.milliseconds
                axes.text(group.milliseconds, row, f" {group.share:.1%}", va="center", fontsize=8)
            axes.invert_yaxis()
            axes.margins(x=0.12)
            axes.spines[["top", "right"]].set_visible(False)
            axes.set_xlabel(f"milliseconds a supervision step, {self.batch} at a time")
            figure.suptitle(f"{self.runtime}, {self.machine.get('processor', '')}", fontsize=10)

        write_figure(path, draw, width=10.0, height=1.6 + 0.45 * len(self.groups))


def sorted_names(names: set[str]) -> list[str]:
    """Groups in the order of the model, then what was fused across them, then what nobody knows, then the host."""
    fused = sorted(name for name in names if AND in name)
    return [name for name in (*GROUPS, *fused, UNKNOWN, HOST) if name in names]
