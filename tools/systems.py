"""The published systems side by side on one task: TRM-MLP, TRM-Att and HRM, trained on 6 x 6 Sudoku by their recipes.

    python tools/systems.py [--runs FOLDER] [--output FOLDER]          # make systems

A run is in a folder of its recipe's name, goes on where it was stopped, and is not repeated where it is finished. What
a system comes to is measured on puzzles of a seed that no recipe names: one attempt each, halting on.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Optional

import numpy as np
import torch
import typer
from script import run_script

from trm_deploy import checkpoints
from trm_deploy.errors import InputError
from trm_deploy.evaluation.accuracy import right_answers
from trm_deploy.models.recursive import RecursiveReasoner
from trm_deploy.models.solve import solve
from trm_deploy.support.figures import write_figure
from trm_deploy.support.files import write_atomic
from trm_deploy.support.progress import progress
from trm_deploy.train import recipe, run_folder
from trm_deploy.train.data.generators.sudoku import generate
from trm_deploy.train.data.settings import GeneratedPuzzles
from trm_deploy.train.runlog import read_metrics
from trm_deploy.train.trainer import Trainer

SCHEMA = 2
SYSTEMS = {"trm-mlp": "TRM-MLP", "trm-att": "TRM-Att", "hrm": "HRM", "hrm-gpu": "HRM, trained on a GPU"}
# The recipes of each, one after the other.
LEGS = {
    "trm-mlp": ["sudoku-6x6-trm-mlp"],
    "trm-att": ["sudoku-6x6-trm-att"],
    "hrm": ["sudoku-6x6-hrm", "sudoku-6x6-hrm-2"],
    "hrm-gpu": ["sudoku-6x6-hrm-gpu"],
}
SHARES = (0.5, 0.9)
# T that the trained weights are tried with; the recipes train with 1 and 2.
DEPTHS = (1, 2, 4, 8)
BATCH = 100
COLOURS = {"trm-mlp": "#08519c", "trm-att": "#d95f02", "hrm": "#1b9e77", "hrm-gpu": "#66c2a5"}


def recipe_of(name: str, leg: int = 0) -> recipe.Recipe:
    """The shipped recipe of a system's leg."""
    return recipe.load(LEGS[name][leg])


def train(name: str, runs: Path) -> list[Path]:
    """The runs of a system, or what is left of them; a leg starts from the weights of the one before. Their folders."""
    folders: list[Path] = []
    for number, leg in enumerate(LEGS[name]):
        folder = runs / leg
        wanted = recipe_of(name, number)
        if not run_folder.is_finished(folder, wanted):
            resume = (folder / run_folder.STATE).exists()
            start = folders[-1] / run_folder.CHECKPOINT if folders and not resume else None
            Trainer(wanted, folder, resume=resume, force=not resume, start=start).run()
        folders.append(folder)
    return folders


def unseen(name: str, count: int, seed: int) -> np.ndarray:
    """Questions int32 [n, L] as a system's recipe makes them, by another seed; none that it was trained on.

    Its symmetric forms are not looked for: a puzzle of 6 x 6 has some millions.
    """
    data = recipe_of(name).data
    assert isinstance(data, GeneratedPuzzles)
    trained = {question.tobytes() for chunk in generate(data) for question in chunk[:, 0]}
    wanted = GeneratedPuzzles(**{**vars(data), "puzzles": count, "seed": seed})
    made = np.concatenate(list(generate(wanted)))[:, 0]
    fresh = np.stack([question for question in made if question.tobytes() not in trained])
    return data.puzzle.from_digits(fresh).astype(np.int32)


def evaluate(name: str, checkpoint: Path, questions: np.ndarray, deep: int) -> dict[str, Any]:
    """What a system comes to with T = `deep`: one attempt a puzzle, halting on, float32."""
    puzzle = recipe_of(name).puzzle
    found = checkpoints.load(checkpoint)
    spec = dataclasses.replace(found.spec, recursion=dataclasses.replace(found.spec.recursion, deep=deep))
    model = RecursiveReasoner(spec)
    model.load_state_dict(found.ema)
    solved, halted, steps = [], [], []
    with progress(f"{name}, T = {deep}", len(questions), unit="puzzles") as advance:
        for start in range(0, len(questions), BATCH):
            rows = questions[start : start + BATCH]
            halting = spec.halting
            out = solve(model, torch.from_numpy(rows), max_steps=halting.max_steps, halt_threshold=halting.threshold)
            solved.append(right_answers(puzzle, rows, out.answer.numpy()))
            halted.append((out.halt_logit > halting.threshold).numpy())
            steps.append(out.steps.numpy())
            advance(len(rows))
    right = np.concatenate(solved)
    return {
        "deep": deep,
        "solved": float(right.mean()),
        "halted_wrong": float((np.concatenate(halted) & ~right).mean()),
        "mean_steps": float(np.concatenate(steps).mean()),
    }


def log_of(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """The metrics of legs, one after the other."""
    lines: list[dict[str, Any]] = []
    for folder in folders:
        before = lines[-1] if lines else {}
        lines += [
            {**line, **{key: line[key] + before.get(key, 0) for key in ("step", "seconds", "cpu_seconds")}}
            for line in read_metrics(folder / run_folder.METRICS)
        ]
    return lines


def described(name: str, folders: Sequence[Path]) -> dict[str, Any]:
    """A system's runs: its size, its curves and when it first solved each of `SHARES`."""
    lines = log_of(folders)
    curve = [line for line in lines if "held_out_solved" in line]
    reached = {
        f"{share:.0%}": next(
            (
                {key: line[key] for key in ("step", "seconds", "cpu_seconds")}
                for line in curve
                if line["held_out_solved"] >= share
            ),
            None,
        )
        for share in SHARES
    }
    spec = recipe_of(name).spec
    return {
        "system": name,
        "parameters": spec.parameters,
        "deep": spec.recursion.deep,
        "device": recipe_of(name).training.device,
        "batch_size": recipe_of(name).training.batch_size,
        "optimiser_steps": lines[-1]["step"],
        "seconds": lines[-1]["seconds"],
        "cpu_seconds": lines[-1]["cpu_seconds"],
        "reached": reached,
        "loss": [
            [line["step"], line["cpu_seconds"], line["answer_loss"], line["halting_loss"]]
            for line in lines
            if "answer_loss" in line
        ],
        "held_out": [
            [line["step"], line["cpu_seconds"], line["held_out_solved"], line["held_out_mean_steps"]] for line in curve
        ],
    }


def minutes(row: dict[str, Any], when: dict[str, Any]) -> str:
    """How long a system took until `when`: minutes of CPU, or, where a GPU computed, by the clock."""
    on_gpu = row["device"] == "cuda"
    return f"{when['seconds'] / 60:.1f} of a GPU" if on_gpu else f"{when['cpu_seconds'] / 60:.0f}"


def table(document: dict[str, Any]) -> str:
    """The systems as a Markdown table."""
    head = (
        "system",
        "parameters",
        "batch",
        "optimiser steps",
        "CPU minutes",
        *(f"to {share:.0%}: steps, CPU minutes" for share in SHARES),
        "unseen puzzles solved",
        "mean steps",
        "halted on a wrong answer",
    )
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for row in document["systems"]:
        (fresh,) = (depth for depth in row["unseen"] if depth["deep"] == row["deep"])
        reached = [
            "not reached" if found is None else f"{found['step']:,}, {minutes(row, found)}"
            for found in row["reached"].values()
        ]
        cells = (
            SYSTEMS[row["system"]],
            f"{row['parameters']:,}",
            f"{row['batch_size']}",
            f"{row['optimiser_steps']:,}",
            minutes(row, row),
            *reached,
            f"{fresh['solved']:.1%}",
            f"{fresh['mean_steps']:.2f}",
            f"{fresh['halted_wrong']:.1%}",
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def depth_table(document: dict[str, Any]) -> str:
    """Solved share and mean steps of each system by T, as a Markdown table."""
    depths = [depth["deep"] for depth in document["systems"][0]["unseen"]]
    head = ("system", *(f"T = {deep}: solved, mean steps" for deep in depths))
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for row in document["systems"]:
        cells = [f"{depth['solved']:.1%}, {depth['mean_steps']:.2f}" for depth in row["unseen"]]
        lines.append("| " + " | ".join((SYSTEMS[row["system"]], *cells)) + " |")
    return "\n".join(lines) + "\n"


def plot(document: dict[str, Any], output: Path) -> None:
    """Loss and solved share against optimiser steps, and solved share against CPU minutes, as a PNG."""

    def draw(figure: Any) -> None:
        loss, steps, spent = figure.subplots(1, 3)
        for row in document["systems"]:
            style = {"color": COLOURS[row["system"]], "label": SYSTEMS[row["system"]]}
            losses, held_out = np.array(row["loss"]), np.array(row["held_out"])
            loss.plot(losses[:, 0], losses[:, 2], **style)
            steps.plot(held_out[:, 0], 100 * held_out[:, 2], marker=".", **style)
            if row["device"] == "cpu":
                spent.plot(held_out[:, 1] / 60, 100 * held_out[:, 2], marker=".", **style)
        loss.set(xlabel="optimiser step", title="loss of the answer, per cell")
        steps.set(xlabel="optimiser step", title="held-out puzzles solved, %", ylim=(0, 100))
        spent.set(xlabel="CPU minutes", title="held-out puzzles solved, %", ylim=(0, 100))
        for axis in (loss, steps, spent):
            axis.grid(alpha=0.3)
            axis.legend()

    write_figure(output, draw, width=13.0, height=3.8)


def main(
    runs: Annotated[Path, typer.Option(help="Folder for the runs.")] = Path("build/systems"),
    output: Annotated[
        Optional[Path], typer.Option(help="Folder for the results; that of the runs if left out.")
    ] = None,
    system: Annotated[Optional[list[str]], typer.Option(help=f"Only this one: {', '.join(SYSTEMS)}.")] = None,
    puzzles: Annotated[int, typer.Option(min=1, help="Unseen puzzles to solve.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Random seed of the unseen puzzles.")] = 4711,
) -> None:
    """Train the systems and write what came of them."""
    names = system or [
        name for name in SYSTEMS if recipe_of(name).training.device == "cpu" or torch.cuda.is_available()
    ]
    if unknown := set(names) - set(SYSTEMS):
        raise InputError(f"--system is {sorted(unknown)[0]}, expected one of {', '.join(SYSTEMS)}")
    rows = []
    for name in names:
        folders = train(name, runs)
        checkpoint = folders[-1] / run_folder.CHECKPOINT
        questions = unseen(name, puzzles, seed)
        depths = [evaluate(name, checkpoint, questions, deep) for deep in DEPTHS]
        rows.append({**described(name, folders), "unseen": depths})
    folder = output or runs
    kept = folder / "systems.json"
    # What is not trained here now, such as what needs a GPU, stays as it was measured.
    before = json.loads(kept.read_text())["systems"] if kept.is_file() else []
    rows += [row for row in before if row["system"] not in names]
    rows.sort(key=lambda row: list(SYSTEMS).index(row["system"]))
    document = {"schema": SCHEMA, "seed": seed, "puzzles": puzzles, "torch": torch.__version__, "systems": rows}
    write_atomic(folder / "systems.json", json.dumps(document, indent=1) + "\n")
    plot(document, folder / "systems.png")
    print(table(document), end="")


if __name__ == "__main__":
    run_script(main)
