"""Which layers can be narrow: one layer group at a time, everything else in float32; as a table and as JSON.

    python tools/sensitivity.py PUZZLES [--checkpoint FILE] [--limit N] [--batch B] [--output FILE]

Of each group, and of all, in both forms of int8 (`trm_deploy.export.graph.passes.int8`), in bfloat16 and float16: how
far one supervision step from the same state drifts from float32, over all steps of a few puzzles, and what it does to
the share of puzzles solved. The policies `FLOAT_BY_ROW` and `FLOAT_STATIC` there rest on what this writes, and that
bf16 and fp16 keep no product in float32. Of those two, operands and results of the products are rounded, as hardware
does that adds in float32; what else `--precision` makes narrow stays float32 here.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Optional

import numpy as np
import onnx
import typer
from numpy.typing import NDArray
from script import run_script

from trm_deploy import checkpoints, puzzles
from trm_deploy.evaluation import accuracy
from trm_deploy.export.graph.assemble import export_onnx
from trm_deploy.export.graph.calibration import largest_inputs, questions
from trm_deploy.export.graph.nested import graphs
from trm_deploy.export.graph.passes import int8
from trm_deploy.puzzles.base import Puzzle
from trm_deploy.runtimes import StepRuntime, load
from trm_deploy.runtimes.base import Int32, initial_numpy_state
from trm_deploy.runtimes.solving.attempts import Schedule
from trm_deploy.support.files import write_atomic

SCHEMA = 1
SHIPPED = Path(__file__).parent.parent / "trm_deploy" / "assets" / "sudoku.pt"
# Puzzles whose steps are compared one by one.
STEP_PUZZLES = 16
# The two forms of int8, and the types that operands and results of a product are rounded to.
HALVES = {"bf16": onnx.TensorProto.BFLOAT16, "fp16": onnx.TensorProto.FLOAT16}
FORMS = ("row", "static", *HALVES)


@dataclass(frozen=True)
class Row:
    """What became of the model with some groups made narrow.

    Attributes:
        groups: that are narrow.
        form: one of `FORMS`.
        drift_median: of the largest logit difference of a step from float32's state, over puzzles and steps.
        drift_largest: the largest of them.
        solved: share.
        lost: puzzles that float32 solves and this does not.
        won: the other way round.
        mean_steps: supervision steps a puzzle.
        same_steps: share of puzzles with float32's number of steps.
    """

    groups: tuple[str, ...]
    form: str
    drift_median: float
    drift_largest: float
    solved: float
    lost: int
    won: int
    mean_steps: float
    same_steps: float


Run = tuple[NDArray[np.bool_], Int32]


def free_run(runtime: StepRuntime, puzzle: Puzzle, tokens: Int32, batch: int) -> Run:
    """Which puzzles are solved, and the steps of each."""
    halting = runtime.spec.halting
    schedule = Schedule(attempts=1, attempt_steps=(halting.max_steps,), halt_threshold=halting.threshold)
    found = accuracy.solve(runtime, tokens, schedule, judge=accuracy.by_rules(puzzle, tokens), batch=batch)
    assert found.solved is not None
    return found.solved, found.steps


def reference_outputs(reference: StepRuntime, tokens: Int32) -> list[tuple[Any, ...]]:
    """Of each supervision step of float32, halting off: its arguments, and the logits it gives."""
    found = []
    y, z = initial_numpy_state(reference.spec, len(tokens))
    for step in range(reference.spec.halting.max_steps):
        arguments = (tokens, np.full(len(tokens), step == 0), y, z)
        given = reference.step(*arguments)
        found.append((arguments, np.asarray(given.logits)))
        y, z = given.y, given.z
    return found


def drift(expected: list[tuple[Any, ...]], runtime: StepRuntime) -> NDArray[np.float32]:
    """The largest difference of a logit in each step from float32's state; [steps, B]."""
    return np.stack(
        [np.abs(np.asarray(runtime.step(*given).logits) - logits).max((1, 2)) for given, logits in expected]
    )


def round_products(graph: onnx.GraphProto, weights: Collection[str], kind: int) -> None:
    """Round operands and results of the products with some weights to a narrow type and back."""

    def rounded(value: str, name: str) -> list[onnx.NodeProto]:
        make = onnx.helper.make_node
        narrow = f"{name}/narrow"
        return [make("Cast", [value], [narrow], to=kind), make("Cast", [narrow], [name], to=onnx.TensorProto.FLOAT)]

    for inner in graphs(graph):
        nodes: list[onnx.NodeProto] = []
        for node in inner.node:
            if node.op_type != "MatMul" or node.input[1] not in weights:
                nodes.append(node)
                continue
            (output,) = node.output
            operands = [f"{output}/{side}" for side in "xw"]
            for value, name in zip(node.input, operands):
                nodes += rounded(value, name)
            nodes.append(onnx.helper.make_node("MatMul", operands, [f"{output}/exact"]))
            nodes += rounded(f"{output}/exact", output)
        del inner.node[:]
        inner.node.extend(nodes)


def variants(present: list[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Form and groups of each row: every group alone, all, and what the policy leaves."""
    policies = {"row": int8.FLOAT_BY_ROW, "static": int8.FLOAT_STATIC}
    for form in FORMS:
        kept = policies.get(form, frozenset())
        policy = tuple(group for group in present if group not in kept)
        yield form, policy
        for group in present:
            yield form, (group,)
        if set(policy) != set(present):
            yield form, tuple(present)


def line(row: dict[str, Any], present: Collection[str]) -> str:
    """A row of the table in Markdown."""
    kept = [group for group in present if group not in row["groups"]]
    name = ", ".join(row["groups"])
    if len(row["groups"]) > 1:
        name = "all but " + " and ".join(kept) if kept else "all"
    cells = (
        name,
        f"{row['drift_median']:.2g}",
        f"{row['drift_largest']:.2g}",
        f"{row['solved']:.1%}",
        str(row["lost"]),
        str(row["won"]),
        f"{row['mean_steps']:.2f}",
        f"{row['same_steps']:.0%}",
    )
    return "| " + " | ".join(cells) + " |"


def table(document: dict[str, Any], form: str) -> str:
    """What was measured of a form, in Markdown."""
    found = [row for row in document["rows"] if row["form"] == form]
    present = [group for group in int8.GROUPS if [group] in [list(row["groups"]) for row in found]]
    head = ("", "drift in a step, median", "largest", "solved", "lost", "won", "mean steps", "same steps")
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head), *(line(row, present) for row in found)]
    return "\n".join(lines) + "\n"


def main(
    file: Annotated[str, typer.Argument(help="Puzzles.")],
    checkpoint_file: Annotated[Path, typer.Option("--checkpoint", help="The shipped model if left out.")] = SHIPPED,
    limit: Annotated[Optional[int], typer.Option(min=1, help="Use only the first N puzzles.")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Puzzles at a time.")] = 25,
    output: Annotated[Optional[Path], typer.Option(help="JSON file to write.")] = None,
) -> None:
    """Sweep and print."""
    loaded = checkpoints.load(checkpoint_file)
    model, puzzle = loaded.model(), puzzles.get(loaded.spec.task.name)
    tokens = puzzles.read_tokens(file, puzzle, limit)
    step = export_onnx(model, graph="step")
    flat = export_onnx(model, graph="step", unroll_inner=True)
    groups = int8.weight_groups(model, step.graph)
    # Both traces are of one model, but only the values tell which weight is which.
    largest = largest_inputs(flat, int8.weight_groups(model, flat.graph), loaded.spec, questions(loaded.spec, None))
    present = [group for group in int8.GROUPS if group in groups.values()]
    with tempfile.TemporaryDirectory() as folder:

        def engine(form: str, chosen: tuple[str, ...]) -> StepRuntime:
            graph = onnx.ModelProto()
            graph.CopyFrom(step)
            weights = [weight for weight, group in groups.items() if group in chosen]
            if form == "row" and weights:
                int8.quantize_by_row(graph.graph, weights)
                graph.opset_import.append(onnx.helper.make_opsetid(int8.CONTRIB, 1))
            elif form in HALVES:
                round_products(graph.graph, weights, HALVES[form])
            elif weights:
                int8.quantize_statically(graph.graph, {weight: largest[weight] for weight in weights})
            path = Path(folder, "step.onnx")
            onnx.save(graph, path)
            runtime = load(path)
            assert isinstance(runtime, StepRuntime)
            return runtime

        reference = engine("row", ())
        solved, steps = free_run(reference, puzzle, tokens, batch)
        expected = reference_outputs(reference, tokens[:STEP_PUZZLES])
        document: dict[str, Any] = {
            "schema": SCHEMA,
            "checkpoint_sha256": loaded.sha256,
            "puzzles": Path(file).stem,
            "count": len(tokens),
            "fp32": {"solved": float(solved.mean()), "mean_steps": float(steps.mean())},
            "float_by_row": sorted(int8.FLOAT_BY_ROW),
            "float_static": sorted(int8.FLOAT_STATIC),
            "rows": [],
        }
        if output and output.is_file():
            before = json.loads(output.read_text())
            if {**before, "rows": []} == document:
                document = before  # goes on where it was stopped
        measured = [(row["form"], tuple(row["groups"])) for row in document["rows"]]
        print(
            f"{len(tokens)} puzzles of {Path(file).stem}: float32 solves {solved.mean():.1%}, {steps.mean():.2f} steps"
        )
        for form, chosen in variants(present):
            if (form, chosen) in measured:
                continue
            runtime = engine(form, chosen)
            drifted = drift(expected, runtime)
            right, taken = free_run(runtime, puzzle, tokens, batch)
            row = Row(
                groups=chosen,
                form=form,
                drift_median=float(np.median(drifted)),
                drift_largest=float(drifted.max()),
                solved=float(right.mean()),
                lost=int((solved & ~right).sum()),
                won=int((right & ~solved).sum()),
                mean_steps=float(taken.mean()),
                same_steps=float((taken == steps).mean()),
            )
            document["rows"].append(asdict(row))
            print(form, line(document["rows"][-1], present), flush=True)
            if output:
                write_atomic(output, json.dumps(document, indent=2) + "\n")
        for form in FORMS:
            print(f"\n{form}\n\n{table(document, form)}", end="")


if __name__ == "__main__":
    run_script(main)
