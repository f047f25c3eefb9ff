"""Writes the tables of README.md and docs/ that come from a measurement, or from the code, between their markers.

    python tools/generate_docs.py [--check]

A table is between `<!-- generated: NAME -->` and `<!-- end: NAME -->`; NAME is a key of `TABLES`. With --check
nothing is written, and the exit code is 1 where a page differs from what its sources say.
"""

from __future__ import annotations

import json
import re
import statistics
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import ablations
import parity_table
import scaling
import sensitivity
import systems
import typer
from hostile import tables as hostile_tables

from trm_deploy.artefacts.layer_groups import GROUPS
from trm_deploy.errors import InputError, TrmDeployError
from trm_deploy.evaluation.profiling.attribution import UNKNOWN
from trm_deploy.evaluation.profiling.report import HOST
from trm_deploy.models.presets import preset
from trm_deploy.signature import GRAPHS, PRECISIONS, TensorSpec, signature
from trm_deploy.spec import TaskSpec
from trm_deploy.support.files import write_atomic

ROOT = Path(__file__).parent.parent
MEASURED = ROOT / "docs" / "measurements"
MARKED = re.compile(r"<!-- generated: (?P<name>[\w-]+) -->\n(?P<body>.*?)<!-- end: (?P=name) -->", re.DOTALL)
SETS = {
    "qqwing_simple": "QQWing simple",
    "qqwing_easy": "QQWing easy",
    "qqwing_intermediate": "QQWing intermediate",
    "qqwing_expert": "QQWing expert",
    "sudoku17_sample": "17 clues",
}
# Solved shares that the project set out to reach, in percent.
GOALS = {
    "qqwing_simple": 99,
    "qqwing_easy": 95,
    "qqwing_intermediate": 91,
    "qqwing_expert": 88,
    "sudoku17_sample": 82,
}
GRADES = ("simple", "easy", "intermediate", "expert")
# Rows of the benchmark that README shows, and what it calls them.
WAYS = {
    "torch-eager-fp32": "PyTorch eager, 16 fixed steps (the published evaluation), fp32",
    "torch-eager-bf16": "the same in bf16",
    "ort-loop-fp32": "ONNX Runtime, loop graph, fp32",
    "ort-step-fp32": "ONNX Runtime, step graph, in flight, fp32",
    "ort-step-int8": "the same in int8",
    "openvino-step-fp32": "OpenVINO, step graph, in flight, fp32",
    "openvino-step-bf16": "the same in bf16 (what `run` takes here)",
    "openvino-step-int8": "the same in int8 (`export --precision int8 --static-scales`)",
    "torch-compile-bf16-in-flight": "PyTorch compiled, in flight, bf16 (`--precision bf16 --compile`)",
}
# Models whose exports were timed.
BUILT = {
    "shipped": "shipped model, D = 128, T = 8",
    "trm-mlp": "`trm-mlp`, D = 512, random weights",
    "trm-att": "`trm-att`, D = 512, random weights",
    "hrm": "`hrm`, D = 512, random weights",
}


def measured(name: str) -> Any:
    """A JSON file of docs/measurements."""
    return json.loads((MEASURED / name).read_text("utf-8"))


def markdown(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table in Markdown."""
    lines = ["| " + " | ".join(map(str, cells)) + " |" for cells in (head, *rows)]
    return "\n".join([lines[0], "|" + " --- |" * len(head), *lines[1:]]) + "\n"


def evaluation() -> str:
    """Solved shares of the shipped model, beside the goals."""
    head = ("puzzles", "solved", "the project's goal", "mean steps", "halted on a wrong answer")
    return markdown(
        head,
        [
            (
                SETS[row["set"]],
                f"{row['solved']:.1%}",
                f"{GOALS[row['set']]} %",
                f"{row['mean_steps']:.2f}",
                f"{row['halted_wrong']:.1%}",
            )
            for row in measured("sudoku-evaluation.json")["sets"]
        ],
    )


def verified_shares() -> str:
    """Verified share against attempts."""
    document = measured("verified-shares.json")
    attempts = [str(count) for count in document["attempts"]]
    first, *others = attempts
    return markdown(
        ("puzzles", f"{first} attempt", *others, "steps in all"),
        [
            (
                SETS[row["set"]],
                *(f"{row['verified'][count]:.1%}" for count in attempts),
                f"{row['mean_total_steps']:.2f}",
            )
            for row in document["sets"]
        ],
    )


def benchmark_summary() -> str:
    """README's rows of the benchmark."""
    rows = {row["name"]: row for row in measured("benchmark.json")["rows"]}
    return markdown(
        ("", "one puzzle, ms (median)", "verified puzzles a second", "verified", "steps a puzzle"),
        [
            (
                title,
                f"{rows[name]['latency_ms_p50']:.0f}",
                f"{rows[name]['verified_per_second']:.1f}",
                f"{rows[name]['verified']:.1%}",
                f"{rows[name]['steps_per_puzzle']:.2f}",
            )
            for name, title in WAYS.items()
        ],
    )


def benchmark() -> str:
    """Every row of the benchmark."""
    head = (
        "", "one puzzle, ms: median", "95 %", "batch", "puzzles a second", "spread", "solved", "mean steps",
        "share of the limit, batches", "one puzzle",
    )  # fmt: skip
    return markdown(
        head,
        [
            (
                f"`{row['name']}`",
                f"{row['latency_ms_p50']:.0f}",
                f"{row['latency_ms_p95']:.0f}",
                row["batch"],
                f"{row['puzzles_per_second']:.1f}",
                f"{row['spread']:.0%}",
                f"{row['solved']:.1%}",
                f"{row['mean_steps']:.2f}",
                f"{row['limit_share']:.0%}",
                f"{row['limit_share_alone']:.0%}",
            )
            for row in measured("benchmark.json")["rows"]
        ],
    )


def benchmark_by_schedule() -> str:
    """Every row of the benchmark, as `run` solves: verified within the attempts of its schedule."""
    head = (
        "", "attempts x steps", "verified", "verified puzzles a second", "steps a puzzle", "steps in vain",
        "share of the limit",
    )  # fmt: skip
    return markdown(
        head,
        [
            (
                f"`{row['name']}`",
                row["schedule"],
                f"{row['verified']:.1%}",
                f"{row['verified_per_second']:.1f}",
                f"{row['steps_per_puzzle']:.2f}",
                row["speculative_steps"],
                f"{row['limit_share_schedule']:.0%}",
            )
            for row in measured("benchmark.json")["rows"]
        ],
    )


def profile() -> str:
    """Where the time of a step goes, by layer group."""
    documents = [json.loads(path.read_text("utf-8")) for path in sorted(MEASURED.glob("profile-*.json"))]
    documents.sort(key=lambda document: (document["batch"], document["runtime"]))
    shares = [{group["name"]: group["share"] for group in document["groups"]} for document in documents]
    names = [name for name in (*GROUPS, UNKNOWN, HOST) if any(name in each for each in shares)]
    fused = sorted({name for each in shares for name in each} - set(names))
    return markdown(
        ("", "batch", "ms a step", *names, *fused),
        [
            (
                document["runtime"],
                document["batch"],
                f"{document['step_ms_unprofiled']:.1f}",
                *(f"{each[name]:.1%}" if name in each else "" for name in (*names, *fused)),
            )
            for document, each in zip(documents, shares)
        ],
    )


def parity_grades() -> str:
    """Solved and verified shares of every precision, by grade."""
    return str(parity_table.table([measured(f"parity-{grade}/report.json") for grade in GRADES]))


def parity_openvino() -> str:
    """The same of OpenVINO's bfloat16, which the shipped model's build record accepts."""
    return str(parity_table.table([measured(f"parity-{grade}-openvino/report.json") for grade in GRADES]))


def parity_expert() -> str:
    """What is behind the column of the hardest grade."""
    report = measured("parity-expert/report.json")
    head = (
        "", "mean steps", "PyTorch's answer in", "PyTorch's steps in", "lost", "won",
        "teacher-forced logits: largest difference", "median",
    )  # fmt: skip
    controls = report["controls"]
    steps = [step["control"] for step in report["engines"][0]["step_differences"] if step["same_state"]]
    rows: list[tuple[object, ...]] = [
        (
            "the control's spread",
            spread([run["mean_steps"] for run in controls], "{:.2f}"),
            spread([100 * run["same_answer"] for run in controls], "{:.1f}") + "%",
            spread([100 * run["same_steps"] for run in controls], "{:.1f}") + "%",
            spread([len(run["lost"]) for run in controls], "{}"),
            spread([len(run["gained"]) for run in controls], "{}"),
            *differences([step["largest"] for step in steps], [step["median_high"] for step in steps]),
        )
    ]
    for engine in report["engines"]:
        free = engine["free"]
        steps = [step for step in engine["step_differences"] if step["same_state"]]
        computed = f" (computed in {engine['arithmetic']})" if engine["arithmetic"] else ""
        rows.append(
            (
                engine["description"].replace(" step", "") + computed,
                f"{free['mean_steps']:.2f}",
                f"{free['same_answer']:.1%}",
                f"{free['same_steps']:.1%}",
                len(free["lost"]),
                len(free["gained"]),
                *differences([step["largest"] for step in steps], [step["median"] for step in steps]),
            )
        )
    return markdown(head, rows)


def differences(largest: Sequence[float], medians: Sequence[float]) -> tuple[str, str]:
    """The largest difference of all steps, and the step in the middle of the medians over puzzles."""
    return f"{max(largest):.2g}", f"{statistics.median(medians):.2g}"


def spread(values: Sequence[float], form: str) -> str:
    """The lowest and the highest; one where they show as one."""
    low, high = form.format(min(values)), form.format(max(values))
    return low if low == high else f"{low} to {high}"


def sensitivity_of(form: str) -> str:
    """The sweep over layer groups in one narrow form."""
    return str(sensitivity.table(measured("sensitivity.json"), form))


def engine_builds() -> str:
    """How long exports take."""
    seconds = {(row["model"], row["graph"]): row["seconds"] for row in measured("engine-builds.json")["exports"]}
    return markdown(
        ("model", "loop", "step", "unrolled, 2 steps"),
        [(title, *(int(seconds[model, graph] + 0.5) for graph in GRAPHS)) for model, title in BUILT.items()],
    )


def hostile(place: int) -> str:
    """Counts of damaged files, of interrupted commands, of parsers."""
    return hostile_tables.tables(measured("hostile.json"))[place] + "\n"


def gpu() -> str:
    """What each runtime gave on a GPU."""
    found = measured("gpu-h200.json")
    batches = ("1", "8", "64", "512")
    rows = []
    for row in found["rows"]:
        parity, times = row["parity"], row["milliseconds"]
        rows.append(
            (
                row["runtime"],
                "holds" if parity["passed"] else "fails",
                "fails" if row["verify"] else "holds",
                f"{parity['solved']:.1%}",
                f"{parity['mean_steps']:.2f}",
                *(f"{times[batch]:.0f}" if times else "-" for batch in batches),
                f"{row['verified_per_second']:,.0f}" if row["verified_per_second"] else "-",
                f"{row['memory_mib']:.0f}",
            )
        )
    head = ("runtime", "parity", "verify", "solved", "mean steps", *(f"batch {batch}, ms" for batch in batches))
    return markdown((*head, "verified puzzles a second", "MiB"), rows)


def graph_consumers() -> str:
    """Which consumer takes which graph form."""
    rows = measured("graph-consumers.json")["rows"]
    names = list(next(row for row in rows if "consumers" in row)["consumers"])
    return markdown(
        ("`trm-deploy export` with", "after", "MB", *names),
        [
            (
                f"`{row['form']}`",
                row["after"] or "-",
                f"{row['bytes'] / 1e6:.1f}" if "bytes" in row else f"the tool fails: {row['tool_fails']}",
                *("yes" if found["takes"] else found.get("reason", "other logits") for found in _in_order(row, names)),
            )
            for row in rows
        ],
    )


def _in_order(row: dict[str, Any], names: Sequence[str]) -> list[dict[str, Any]]:
    return [row.get("consumers", {}).get(name, {"takes": False, "reason": "-"}) for name in names]


def reading_speed() -> str:
    """Puzzles a second of each format."""
    rates = measured("reading-speed.json")["puzzles_a_second"]
    return markdown(
        ("format", "puzzles a second", "of plain lines"),
        [(name, f"{rate:,.0f}", f"{rate / rates['lines']:.2f}") for name, rate in rates.items()],
    )


def serving() -> str:
    """Puzzles a second and latency of the server beside `run`."""
    found = measured("serving.json")
    base = found["run_puzzles_per_second"]
    rates = [("`run`", base, "", ""), ("all puzzles in one request", found["one_request_puzzles_per_second"], "", "")]
    for row in found["clients"]:
        clients = f"{row['clients']} client{'s' * (row['clients'] > 1)}, a puzzle a request"
        milliseconds = (f"{row[f'p{share}_milliseconds']:,.0f} ms" for share in (50, 95))
        rates.append((clients, row["puzzles_per_second"], *milliseconds))
    return markdown(
        ("", "puzzles a second", "of `run`", "p50", "p95"),
        [(name, f"{rate:.1f}", f"{rate / base:.0%}", p50, p95) for name, rate, p50, p95 in rates],
    )


def signatures() -> str:
    """What goes into each graph form and what comes out."""
    # Sizes that tell the letters apart.
    task = TaskSpec(name="", sequence_length=101, vocabulary=tuple(map(str, range(13))))
    spec = preset("trm-mlp", task, architecture={"hidden_size": 64, "prefix_length": 3, "puzzle_embedding_size": 0})
    letters = {101: "L", 104: "P+L", 64: "D", 13: "V", "batch": "B"}

    def shown(tensor: TensorSpec, dtypes: set[str]) -> str:
        dtype = tensor.dtype if len(dtypes) == 1 else "in the graph's precision"
        shape = ", ".join(letters[size] for size in tensor.shape)
        return f"`{tensor.name}` {dtype} [{shape}]" if len(dtypes) == 1 else f"`{tensor.name}` [{shape}] {dtype}"

    rows = []
    for graph in GRAPHS:
        each = [signature(spec, graph, precision) for precision in PRECISIONS]
        cells = [
            ", ".join(shown(tensor, {other[tensor.name].dtype for other in each}) for tensor in tensors)
            for tensors in (each[0].inputs, each[0].outputs)
        ]
        rows.append((f"`{graph}`", *cells))
    return markdown(("graph", "inputs", "outputs"), rows)


def scaling_table(head: Sequence[str], rows: Callable[[Any], list[list[object]]]) -> str:
    """One of the tables of docs/scale.md."""
    return markdown(head, rows(measured("scaling.json")))


TABLES: dict[str, Callable[[], str]] = {
    "evaluation": evaluation,
    "verified-shares": verified_shares,
    "benchmark-summary": benchmark_summary,
    "benchmark": benchmark,
    "benchmark-by-schedule": benchmark_by_schedule,
    "profile": profile,
    "parity-grades": parity_grades,
    "parity-openvino": parity_openvino,
    "parity-expert": parity_expert,
    **{f"sensitivity-{form}": lambda form=form: sensitivity_of(form) for form in sensitivity.FORMS},  # type: ignore[misc]
    "engine-builds": engine_builds,
    "ablations": lambda: str(ablations.table(measured("ablations.json"))),
    "systems": lambda: str(systems.table(measured("systems.json"))),
    "systems-depth": lambda: str(systems.depth_table(measured("systems.json"))),
    "hostile-damaged": lambda: hostile(0),
    "hostile-interrupted": lambda: hostile(1),
    "hostile-parsers": lambda: hostile(2),
    "signatures": signatures,
    "graph-consumers": graph_consumers,
    "gpu": gpu,
    "reading-speed": reading_speed,
    "serving": serving,
    "scaling": lambda: scaling_table(
        ("", "puzzles a second", "of the cores' own time", "to one thread", "to start"), scaling.measured_rows
    ),
    "scaling-driver": lambda: scaling_table(("of the process that hands out", ""), scaling.driver_rows),
    "scaling-billion": lambda: scaling_table(
        ("machines of 64 cores", "puzzles a second", "10^9 puzzles take", "runs at a time"), scaling.billion_rows
    ),
    "scaling-simulated": lambda: scaling_table(
        ("64 actors, a million puzzles", "takes", "of what they could do"), scaling.simulated_rows
    ),
}


def pages() -> list[Path]:
    """The pages that may have markers."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def generated(text: str, page: str) -> str:
    """A page with its tables made anew.

    Raises:
        InputError: a marker names no table, or has no end.
    """

    def table(match: re.Match[str]) -> str:
        name = match["name"]
        if name not in TABLES:
            raise InputError(f"{page}: there is no table {name}, expected one of {', '.join(TABLES)}")
        return f"<!-- generated: {name} -->\n{TABLES[name]()}<!-- end: {name} -->"

    made = MARKED.sub(table, text)
    if len(MARKED.findall(text)) != text.count("<!-- generated: "):
        raise InputError(f"{page}: a table has a beginning and no end", hint="add <!-- end: NAME --> below it")
    return made


def main(
    check: Annotated[bool, typer.Option("--check", help="Write nothing; fail where a page differs.")] = False,
) -> None:
    """Write the tables."""
    differing = []
    for page in pages():
        text = page.read_text("utf-8")
        made = generated(text, page.name)
        if made != text:
            differing.append(page.relative_to(ROOT))
            if not check:
                write_atomic(page, made)
    print("\n".join(f"{'differs' if check else 'wrote'}: {page}" for page in differing) or "all tables are up to date")
    if check and differing:
        raise typer.Exit(1)


if __name__ == "__main__":
    try:
        typer.run(main)
    except TrmDeployError as error:
        sys.exit(f"error: {error}")
