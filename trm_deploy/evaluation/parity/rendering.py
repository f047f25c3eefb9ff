"""A parity report as text for a terminal, as Markdown and as pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from trm_deploy.evaluation.parity.bounds import BOUNDS, bounds_name, scattered
from trm_deploy.evaluation.parity.report import Cosine, EngineParity, FreeRun, ParityReport, StepDifference
from trm_deploy.support.figures import require_matplotlib, write_figure
from trm_deploy.support.files import write_atomic
from trm_deploy.support.jsontext import dumps
from trm_deploy.support.report_page import require_markdown, write_page

# Puzzles of a list that are shown; the JSON has all.
SHOWN_NUMBERS = 20
PYTORCH, ENGINE, CONTROL = "#333333", "#d95f02", "#7aa6c2"


def table(report: ParityReport) -> str:
    """The report as text for a terminal."""
    verified = report.attempts > 1
    head = f"{'free-running':32} {'solved':>7} "
    head += f"{'verified':>9} " if verified else ""
    lines = [
        f"{report.puzzles} puzzles, up to {report.max_steps} steps, halting threshold {report.halt_threshold:g}"
        + (f", {report.attempts} attempts" if verified else ""),
        "",
        head + f"{'halted':>7} {'mean steps':>11} {'same answer':>12} {'same steps':>11}",
    ]
    for name, run in _runs(report):
        more = f"{_percent(run.verified):>9} " if verified else ""
        lines.append(
            f"{name:32} {_percent(run.solved):>7} {more}{run.halted:>7.1%} {run.mean_steps:>11.2f}"
            f" {run.same_answer:>12.1%} {run.same_steps:>11.1%}"
        )
    for engine in report.engines:
        lines += ["", f"{engine.name} ({engine.description})"]
        lines += [f"  {line}" for line in (*_step_lines(engine), *_baseline_lines(engine))]
        lines += [f"  note: {note}" for note in engine.notes]
        lines += [f"  FAILED {failure}" for failure in engine.failures] or [f"  {_holds(engine)}"]
    for left_out in report.not_compared:
        lines += ["", f"{left_out.name}", f"  NOT COMPARED, it cannot run here: {left_out.reason}"]
    return "\n".join(lines)


def number(value: float) -> str:
    """A difference, in the one format that all of them have: two digits."""
    return f"{value:.2g}"


def _range(low: float, high: float) -> str:
    """What the controls' draws span; one number where it shows as one."""
    ends = number(low), number(high)
    return ends[0] if ends[0] == ends[1] else " to ".join(ends)


def _runs(report: ParityReport) -> list[tuple[str, FreeRun]]:
    rows = [("PyTorch fp32", report.reference)]
    if report.in_turn:
        rows += [(f"{report.step_controls} controls in turn (1 ulp off)", run) for run in report.controls]
    else:
        rows += [(f"control {number} (weights 1 ulp off)", run) for number, run in enumerate(report.controls, start=1)]
    return rows + [(engine.description, engine.free) for engine in report.engines]


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def _step_lines(engine: EngineParity) -> list[str]:
    lines = []
    same = [d for d in engine.step_differences if d.same_state]
    free = [d for d in engine.step_differences if not d.same_state]
    if same:
        worst = max(same, key=lambda d: d.checked)
        what = f"{len(same)} steps" if len(same) > 1 else f"step {same[0].step}"
        whole = "logits and state" if worst.cosine_y else "logits"
        relative = f" + {number(worst.rtol)} of what is expected" if worst.rtol else ""
        line = f"teacher-forced, {what}: {whole} within {number(worst.checked)} (bound {number(worst.bound)}{relative})"
        nearest = _nearest_median(same)
        if nearest is not None and nearest.median_bound is not None:
            line += f", median over puzzles {number(nearest.median)} (bound {number(nearest.median_bound)})"
        lines.append(line)
    if free:
        last = engine.drift[-1]
        lines.append(
            f"free-running to step {last.step}, halting off: median drift {number(last.median)},"
            f" the control's {_range(last.control_low, last.control_high)}"
        )
    return lines


def _baseline_lines(engine: EngineParity) -> list[str]:
    if not engine.baseline:
        return []
    shares = [f"{MEASURES[name]} {now:.1%} (then {then:.1%})" for name, (then, now) in engine.baseline.items()]
    return [f"against the baseline: {', '.join(shares)}"]


# What to call the shares that a baseline holds.
MEASURES = {"solved": "solved", "verified": "verified", "same_answer": "same answer as PyTorch"}


def _nearest_median(steps: Sequence[StepDifference]) -> StepDifference | None:
    """The step whose median is nearest to its bound, or farthest beyond it; None where none has one."""
    bounded = [(d.median / d.median_bound, d) for d in steps if d.median_bound]
    return max(bounded, key=lambda pair: pair[0])[1] if bounded else None


def _holds(engine: EngineParity) -> str:
    if engine.arithmetic is None:
        return "parity holds"
    return f"parity holds for the {engine.precision} file, computed in {engine.arithmetic}"


def write(report: ParityReport, folder: Path) -> None:
    """Write report.md, the pictures that it shows, report.html with them inside, and report.json into a folder.

    Raises:
        MissingPackage: matplotlib or markdown-it-py is not installed.
        TrmDeployError: the folder cannot be written.
    """
    require_matplotlib()
    require_markdown()
    pictures = []
    for number, engine in enumerate(report.engines, start=1):
        # The number keeps engines apart that have one name in two folders.
        stem = f"{number}-{engine.file_name}".replace(" ", "-")  # Markdown takes no space in a link
        pictures.append((f"{stem}.drift.png", f"{stem}.halting.png"))
        write_figure(folder / pictures[-1][0], partial(_draw_drift, engine))
        write_figure(folder / pictures[-1][1], partial(_draw_halting, report, engine))
    text = markdown(report, pictures)
    write_atomic(folder / "report.md", text)
    write_page(folder / "report.html", text)
    # Last, so that a report.json is never older than the files beside it.
    write_atomic(folder / "report.json", dumps(report.to_plain(), indent=2) + "\n")


def markdown(report: ParityReport, pictures: Sequence[tuple[str, str]]) -> str:
    """The whole report as a page.

    Args:
        report: what was found.
        pictures: for each engine, the file names of its drift and of its halting steps.
    """
    blocks = [
        "# Parity with PyTorch float32",
        "**Parity holds.**" if report.passed else "**Parity fails.**",
        _verdicts(report),
        _setup(report),
        "## Free-running",
        _free_table(report),
        _free_words(report),
        _turned_table(report),
    ]
    for engine, (drift, halting) in zip(report.engines, pictures):
        blocks += _engine_blocks(report, engine, drift, halting)
    blocks += ["## Bounds", _bounds(report)]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _verdicts(report: ParityReport) -> str:
    lines = []
    for engine in report.engines:
        said = "; ".join(engine.failures) if engine.failures else _holds(engine)
        lines.append(f"- `{engine.file_name}` ({engine.description}): {'**fails**: ' if engine.failures else ''}{said}")
        lines += [f"  - note: {note}" for note in engine.notes]
    for left_out in report.not_compared:
        lines.append(f"- `{Path(left_out.name).name}`: **not compared**, it cannot run here: {left_out.reason}")
    return "\n".join(lines)


def _setup(report: ParityReport) -> str:
    sources = report.sources
    lines = [
        f"{report.puzzles} puzzles (digest {report.questions_sha256[:12]}), up to {report.max_steps} supervision"
        f" steps, halting threshold {report.halt_threshold:g}, {_attempts(report.attempts)} a puzzle,"
        f" {report.step_controls} draws of the control"
        + (", which take turns: one answers each puzzle" if report.in_turn else "")
        + f". Single steps and drift: the first {report.step_puzzles} puzzles"
        + (", by every control." if report.in_turn else ".")
    ]
    if sources:
        versions = ", ".join(f"{name} {version}" for name, version in sources["versions"].items())
        lines.append(
            f"Checkpoint `{sources['checkpoint']}` (SHA-256 {sources['checkpoint_sha256'][:12]}),"
            f" puzzles: {sources['puzzles']}. {versions}."
        )
    return "\n".join(lines)


def _attempts(count: int) -> str:
    return "one attempt" if count == 1 else f"up to {count} attempts"


def _row(*cells: object) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def _head(*cells: str) -> list[str]:
    return [_row(*cells), "|" + " --- |" * len(cells)]


def _free_table(report: ParityReport) -> str:
    lines = _head("", "solved", "verified", "halted", "mean steps", "same answer", "same steps")

    def cells(run: FreeRun) -> tuple[str, ...]:
        return (
            _percent(run.solved), _percent(run.verified), _percent(run.halted), f"{run.mean_steps:.3f}",
            _percent(run.same_answer), _percent(run.same_steps),
        )  # fmt: skip

    rows = [(name, cells(run)) for name, run in _runs(report)]
    drawn = [cells(run) for run in report.controls]
    spread = tuple(_spread([getattr(run, name) for run in report.controls], form) for name, form in _MEASURES)
    if not report.in_turn:
        rows.insert(1 + len(drawn), ("**the control's spread**", spread))
    return "\n".join([*lines, *(_row(name, *row) for name, row in rows)])


_MEASURES: tuple[tuple[str, Callable[[float], str]], ...] = (
    ("solved", _percent),
    ("verified", _percent),
    ("halted", _percent),
    ("mean_steps", lambda value: f"{value:.3f}"),
    ("same_answer", _percent),
    ("same_steps", _percent),
)


def _spread(values: Sequence[float | None], form: Callable[[float], str]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    low, high = form(min(known)), form(max(known))
    return low if low == high else f"{low} to {high}"


def _free_words(report: ParityReport) -> str:
    noise = report.noise
    within = (
        "Verified is solved here: one attempt a puzzle."
        if report.attempts == 1
        else f"Verified: an answer that obeys the rules within {report.attempts} attempts under the task's symmetries."
    )
    turned = (
        f"changes up to {_count(noise.answers, 'answer')}, and turns up to {_count(noise.solved, 'verdict')} on whether"
        " a puzzle is solved"
        if noise.answers
        else "changes no answer"
    )
    return (
        f"{within} Same answer and same steps are PyTorch's. The control is ulp-perturbed: PyTorch with every weight"
        f" one unit in the last place off. That alone {turned}."
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _turned_table(report: ParityReport) -> str:
    if report.reference.lost is None:
        return ""
    lines = _head("", "solved by PyTorch alone", "their numbers", "solved by this alone", "their numbers")
    for name, run in _runs(report)[1:]:
        lost, gained = run.lost or [], run.gained or []
        lines.append(_row(name, len(lost), _numbers(lost), len(gained), _numbers(gained)))
    return "\n".join(lines)


def _numbers(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:SHOWN_NUMBERS]))
    more = len(numbers) - SHOWN_NUMBERS
    return f"{shown} and {more} more" if more > 0 else shown


def _engine_blocks(report: ParityReport, engine: EngineParity, drift: str, halting: str) -> list[str]:
    blocks = [f"## {engine.file_name}: {engine.description}"]
    blocks += [f"Note: {note}." for note in engine.notes]
    blocks += [f"**Failed**: {failure}." for failure in engine.failures]
    if not engine.failures:
        blocks.append(f"{_holds(engine).capitalize()}.")
    if engine.baseline:
        rows = [_row(name.replace("_", " "), *map(_percent, shares)) for name, shares in engine.baseline.items()]
        blocks.append("\n".join([*_head("against the baseline", "then", "now"), *rows]))
    if any(d.same_state for d in engine.step_differences):
        blocks += ["### Teacher-forced: each step from PyTorch's state", _teacher_forced_table(engine)]
    if not engine.step_differences[-1].cosine_y:
        blocks.append(
            "This form of the graph takes no state and gives none: after the first step only a free run can be"
            " compared, and a cosine of the state cannot be known. The step form shows both"
            " (`trm-deploy export CHECKPOINT --graph step`)."
        )
    blocks += ["### Free-running, halting off", _drift_table(engine), f"![drift against step]({drift})"]
    blocks += ["### Halting steps", _halting_table(report, engine), f"![halting steps]({halting})"]
    return blocks


def _teacher_forced_table(engine: EngineParity) -> str:
    lines = _head(
        "step", "logits, largest", "the control's", "logits, median", "the control's",
        "cosine of y: smallest, median", "the control's", "cosine of z: smallest, median", "the control's", "place",
    )  # fmt: skip
    for d in engine.step_differences:
        if not d.same_state or d.control is None:
            continue
        control = d.control
        lines.append(
            _row(
                d.step, number(d.largest), number(control.largest),
                number(d.median), _range(control.median_low, control.median_high),
                _cosine(d.cosine_y), _cosine(control.cosine_y), _cosine(d.cosine_z), _cosine(control.cosine_z), d.where,
            )
        )  # fmt: skip
    bound = next(d for d in engine.step_differences if d.same_state)
    relative = f" + {number(bound.rtol)} times what is expected" if bound.rtol else ""
    what = "logit and of the state" if bound.cosine_y else "logit"
    words = f"Bound on the largest difference of a {what}: {number(bound.bound)}{relative}."
    nearest = _nearest_median([d for d in engine.step_differences if d.same_state])
    if nearest is not None and nearest.median_bound is not None:
        words += (
            f" Bound on the median, where it is nearest, in step {nearest.step}: {number(nearest.median_bound)};"
            f" the median is {number(nearest.median)} there."
        )
    return "\n".join(lines) + f"\n\n{words}"


def _cosine(cosine: Cosine | None) -> str:
    # How far below 1: 0.99999998 and 0.9999 look alike otherwise.
    return "-" if cosine is None else f"1 - {number(1 - cosine.smallest)}, 1 - {number(1 - cosine.median)}"


def _drift_table(engine: EngineParity) -> str:
    lines = _head("step", "median over puzzles", "the control's", "largest")
    for d in engine.drift:
        lines.append(_row(d.step, number(d.median), _range(d.control_low, d.control_high), number(d.largest)))
    return "\n".join(lines)


def _halting_table(report: ParityReport, engine: EngineParity) -> str:
    ours, theirs = report.reference.steps, engine.free.steps
    last = max(len(ours), len(theirs), *(len(run.steps) for run in report.controls))
    lines = _head("steps", *map(str, range(1, last + 1)))
    draws = [_padded(run.steps, last) for run in report.controls]
    spread = [f"{min(counts)} to {max(counts)}" if len(set(counts)) > 1 else counts[0] for counts in zip(*draws)]
    lines.append(_row("PyTorch", *_padded(ours, last)))
    lines.append(_row("the control", *spread))
    lines.append(_row(engine.description, *_padded(theirs, last)))
    return "\n".join(lines)


def _padded(counts: Sequence[int], length: int) -> list[int]:
    return [*counts, *[0] * (length - len(counts))]


def _bounds(report: ParityReport) -> str:
    lines = []
    for precision in dict.fromkeys(bounds_name(engine.precision, engine.arithmetic) for engine in report.engines):
        bounds = BOUNDS[precision]
        lines.append(
            f"- {precision}: the solved share at most {bounds.solved:g} points below the worst control, the verified"
            f" share {bounds.verified:g}; one teacher-forced step within {bounds.logits:g} or"
            f" {bounds.sensitivity:g} times the control's, its median within {bounds.logits:g} or {bounds.median:g}"
            f" times the control's. {bounds.reason}"
        )
    scatter = scattered(report.noise.solved, report.noise.answers) / report.puzzles
    lines.append(
        f"- In addition the solved share may scatter by {100 * scatter:.1f} points here: two standard deviations of"
        " what noise turns, as counted between PyTorch and its controls."
    )
    return "\n".join(lines)


def _draw_drift(engine: EngineParity, figure: Any) -> None:
    same = [d for d in engine.step_differences if d.same_state and d.control is not None]
    left, right = figure.subplots(1, 2, sharey=True)
    steps = [d.step for d in same]
    controls = [d.control for d in same if d.control is not None]
    left.set_title("teacher-forced: each step from PyTorch's state", fontsize=10)
    left.plot(steps, _above([d.largest for d in same]), "o-", color=ENGINE, label="engine, largest")
    left.plot(steps, _above([d.median for d in same]), "o--", color=ENGINE, markersize=3, label="engine, median")
    left.plot(steps, _above([c.largest for c in controls]), "s-", color=CONTROL, label="control, largest")
    left.plot(
        steps, _above([c.median_high for c in controls]), "s--", color=CONTROL, markersize=3, label="control, median"
    )
    if same and not same[0].rtol:
        left.axhline(same[0].bound, color=PYTORCH, linewidth=1, linestyle=":", label="bound on the largest")
    bounded = [(d.step, d.median_bound) for d in same if d.median_bound is not None]
    if bounded:
        left.plot(*zip(*bounded), color=PYTORCH, linewidth=1, linestyle="--", label="bound on the median")
    right.set_title("free-running, halting off: median over puzzles", fontsize=10)
    steps = [d.step for d in engine.drift]
    low, high = _above([d.control_low for d in engine.drift]), _above([d.control_high for d in engine.drift])
    right.fill_between(steps, low, high, color=CONTROL, alpha=0.4, label="control, all draws")
    right.plot(steps, high, "s-", color=CONTROL, markersize=3)
    right.plot(steps, _above([d.median for d in engine.drift]), "o-", color=ENGINE, label="engine")
    left.set_ylabel("difference of a logit from PyTorch's")
    left.set_yscale("log")
    bottom, top = left.get_ylim()
    left.set_ylim(bottom, top * (top / bottom) ** 0.6)  # room for the legends
    for axis in (left, right):
        axis.set_xlim(0.5, engine.drift[-1].step + 0.5)
        axis.set_xlabel("supervision step")
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8, loc="upper right")
    figure.suptitle(f"{engine.file_name}: {engine.description}", fontsize=11)


def _above(values: Sequence[float]) -> list[float]:
    """For a logarithmic axis: no difference is drawn as 1e-9, NaN not at all."""
    return [max(value, 1e-9) for value in values]


def _draw_halting(report: ParityReport, engine: EngineParity, figure: Any) -> None:
    axis = figure.subplots()
    last = max(len(report.reference.steps), len(engine.free.steps), *(len(run.steps) for run in report.controls))
    steps = range(1, last + 1)
    draws = [_padded(run.steps, last) for run in report.controls]
    axis.bar(steps, _padded(report.reference.steps, last), width=0.8, color=CONTROL, alpha=0.6, label="PyTorch")
    axis.bar(
        steps, _padded(engine.free.steps, last), width=0.5, fill=False, edgecolor=ENGINE, linewidth=1.8, label="engine"
    )
    low, high = [min(counts) for counts in zip(*draws)], [max(counts) for counts in zip(*draws)]
    axis.vlines(steps, low, high, color=PYTORCH, linewidth=2, label="control, all draws")
    axis.set_xlabel(f"supervision steps until halting (maximum {report.max_steps})")
    axis.set_ylabel("puzzles")
    axis.set_xticks(list(steps))
    axis.grid(axis="y", alpha=0.3)
    axis.legend(fontsize=9)
    axis.set_title(f"{engine.file_name}: {engine.description}, {report.puzzles} puzzles", fontsize=11)
