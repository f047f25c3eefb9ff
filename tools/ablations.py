"""TRM's table of design choices in miniature: TRM-MLP, TRM-Att and HRM, and TRM-MLP with one choice reversed at a time.

    python tools/ablations.py [--runs FOLDER] [--output FOLDER] [--seeds 3] [--steps N] [--variant NAME ...]

Every variant is trained on the same small Sudoku puzzles for the same number of optimiser steps, once a seed, in one
process a core with one thread each. A finished run is not repeated and one that was cut short is taken up again, so the
same command goes on where it was stopped. When all are done, `ablations.json`, `ablations.png` and `ablations.md` (a
table) stand in the output folder.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Annotated, Any, Optional

import torch
import typer
from script import run_script

from trm_deploy.errors import InputError
from trm_deploy.support.files import atomic_path, write_atomic
from trm_deploy.support.progress import progress
from trm_deploy.train import recipe
from trm_deploy.train.data.sampling import puzzles
from trm_deploy.train.trainer import Trainer

SCHEMA = 1
STEPS = 500
# In TRM's table (arXiv 2510.04871, table 1) n = 6 and T = 3; here both are smaller, like the task.
LATENT, DEEP = 2, 2

RECIPE = """\
[data]
box_rows = 2
box_columns = 3
puzzles = 4_000
min_clues = 10
max_clues = 20
seed = 1

[model]
preset = "{preset}"
architecture = {{ hidden_size = 64, heads = 4, prefix_length = 1, puzzle_embedding_size = 64{architecture} }}
recursion = {{ latent = {latent}, deep = {deep} }}
halting = {{ max_steps = 8{halting} }}

[optimizer]
learning_rate = 2e-3
warmup_steps = 20

[training]
steps = {steps}
batch_size = 16
rotation = 8
precision = "fp32"
gradient = "{gradient}"
ema = {ema}
seed = {seed}
checkpoint_every = 100

[evaluation]
puzzles = 256
every = {steps}
"""


@dataclass(frozen=True)
class Variant:
    """What a variant puts into the recipe; by default what TRM-MLP does."""

    title: str
    preset: str = "trm-mlp"
    architecture: str = ""
    latent: int = LATENT
    deep: int = DEEP
    halting: str = ""
    gradient: str = "full"
    ema: float = 0.99

    def recipe(self, *, steps: int, seed: int) -> str:
        """The TOML text of a run."""
        values = {name: value for name, value in vars(self).items() if name != "title"}
        return RECIPE.format(**values, steps=steps, seed=seed)


VARIANTS = {
    "trm-mlp": Variant("TRM-MLP"),
    "trm-att": Variant("TRM-Att", preset="trm-att"),
    "hrm": Variant("HRM", preset="hrm", gradient="one-step"),
    "one-step": Variant("one-step gradient", gradient="one-step"),
    "no-ema": Variant("no EMA", ema=0.0),
    "separate": Variant("separate networks", architecture=', networks = "separate"'),
    "deeper": Variant("4 layers, n halved", architecture=", layers = 4", latent=LATENT // 2),
    "shallow": Variant("T = n = 1", latent=1, deep=1),
    "q-learning": Variant("Q-learning halting", halting=', rule = "halt-continue"'),
}


def train(name: str, text: str, folder: Path) -> dict[str, Any]:
    """One run, or what is left of it; its result, which `result.json` in its folder holds."""
    torch.set_num_threads(1)
    result_path = folder / "result.json"
    if result_path.exists():
        result: dict[str, Any] = json.loads(result_path.read_text())
        if result["recipe"] != text:
            raise InputError(f"{folder}: holds a run of another recipe", hint="name another --runs")
        return result
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log.txt").open("a") as log, contextlib.redirect_stderr(log):
        resume = (folder / "resume.pt").exists()
        trainer = Trainer(recipe.parse(text, source=name), folder, resume=resume, force=not resume)
        first = trainer.step
        # Of this process, not of the clock: other processes may share the cores.
        started = time.process_time()
        trainer.run()
        trained = time.process_time()
        scores = trainer.evaluate()
        evaluated = time.process_time()
    training = (trained - started) - (evaluated - trained)  # the run itself ends with an evaluation
    steps = trainer.recipe.training.steps
    result = {
        "variant": name,
        "seed": trainer.recipe.training.seed,
        "solved": scores["held_out_solved"],
        "mean_steps": scores["held_out_mean_steps"],
        "parameters": sum(weight.numel() for weight in trainer.model.parameters()),
        "seconds_a_step": training / (steps - first) if first < steps else None,
        "recipe": text,
    }
    write_atomic(result_path, json.dumps(result, indent=2) + "\n")
    return result


def summary(results: list[dict[str, Any]], steps: int) -> dict[str, Any]:
    """The document: a row a variant, in the order of `VARIANTS`, with the runs behind it."""
    rows = []
    for name, variant in VARIANTS.items():
        runs = sorted((result for result in results if result["variant"] == name), key=lambda run: run["seed"])
        if not runs:
            continue
        timed = [run["seconds_a_step"] for run in runs if run["seconds_a_step"] is not None]
        rows.append(
            {
                "variant": name,
                "title": variant.title,
                "parameters": runs[0]["parameters"],
                "solved": mean(run["solved"] for run in runs),
                "mean_steps": mean(run["mean_steps"] for run in runs),
                "seconds_a_step": mean(timed) if timed else None,
                "runs": [{key: run[key] for key in ("seed", "solved", "mean_steps", "seconds_a_step")} for run in runs],
                "recipe": variant.recipe(steps=steps, seed=0),
            }
        )
    return {"schema": SCHEMA, "optimiser_steps": steps, "torch": torch.__version__, "variants": rows}


def table(document: dict[str, Any]) -> str:
    """The document as a Markdown table."""
    lines = [
        "| variant | solved, mean | solved, each seed | mean steps | parameters | seconds an optimiser step |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in document["variants"]:
        each = ", ".join(f"{run['solved']:.1%}" for run in row["runs"])
        seconds = "" if row["seconds_a_step"] is None else f"{row['seconds_a_step']:.3f}"
        lines.append(
            f"| {row['title']} | {row['solved']:.1%} | {each} | {row['mean_steps']:.2f} | {row['parameters']:,}"
            f" | {seconds} |"
        )
    return "\n".join(lines) + "\n"


def plot(document: dict[str, Any], output: Path) -> None:
    """Solved share of each run as a dot, of each variant's mean as a bar, as a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = document["variants"][::-1]
    figure, axis = pyplot.subplots(figsize=(7.5, 4), layout="constrained")
    axis.barh(range(len(rows)), [100 * row["solved"] for row in rows], color="#9ecae1", label="mean")
    for height, row in enumerate(rows):
        solved = [100 * run["solved"] for run in row["runs"]]
        axis.plot(solved, [height] * len(solved), "o", color="#08519c", label=None if height else "each seed")
    axis.set_yticks(range(len(rows)), [row["title"] for row in rows])
    axis.set(xlabel="held-out puzzles solved, %", xlim=(0, 100))
    axis.set_title(f"6 x 6 Sudoku, {document['optimiser_steps']} optimiser steps", fontsize=10)
    axis.grid(axis="x", alpha=0.3)
    axis.legend()
    with atomic_path(output) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
    pyplot.close(figure)


def main(
    runs: Annotated[Path, typer.Option(help="Folder for the runs.")] = Path("build/ablations"),
    output: Annotated[
        Optional[Path], typer.Option(help="Folder for the results; that of the runs if left out.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1)] = 3,
    steps: Annotated[int, typer.Option(min=1, help="Optimiser steps of every run.")] = STEPS,
    variant: Annotated[Optional[list[str]], typer.Option(help=f"Only this one: {', '.join(VARIANTS)}.")] = None,
    processes: Annotated[Optional[int], typer.Option(min=1, help="One a core if left out.")] = None,
) -> None:
    """Train every variant with every seed, and write what came of it."""
    names = variant or list(VARIANTS)
    if unknown := set(names) - set(VARIANTS):
        raise InputError(f"--variant is {sorted(unknown)[0]}, expected one of {', '.join(VARIANTS)}")
    # Seed by seed, so that a set that is stopped early has every variant equally often.
    jobs = [
        (name, VARIANTS[name].recipe(steps=steps, seed=seed), runs / f"{name}-{seed}")
        for seed in range(seeds)
        for name in names
    ]
    puzzles(recipe.parse(jobs[0][1], source="ablations").data)  # made once, before the processes share them
    results = []
    context = multiprocessing.get_context("spawn")
    with (
        ProcessPoolExecutor(processes or os.cpu_count(), mp_context=context) as pool,
        progress("ablations", len(jobs), unit="runs") as advance,
    ):
        for future in as_completed([pool.submit(train, *job) for job in jobs]):
            results.append(future.result())
            advance(1)
    document = summary(results, steps)
    folder = output or runs
    write_atomic(folder / "ablations.json", json.dumps(document, indent=2) + "\n")
    write_atomic(folder / "ablations.md", table(document))
    plot(document, folder / "ablations.png")
    print(table(document), end="")


if __name__ == "__main__":
    run_script(main)
