"""README's pictures of each task: a question of examples/, and the answer of a model of this repository, verified.

python tools/pictures.py [--output docs/images]
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from script import run_script

from trm_deploy import puzzles
from trm_deploy.api import Solver
from trm_deploy.errors import TrmDeployError
from trm_deploy.runtimes.solving.answer import Answer
from trm_deploy.support.figures import write_figure

ROOT = Path(__file__).parent.parent
# A picture -> the model, a shipped one or a checkpoint of a measurement, and the file whose first puzzle it solves.
PICTURES = {
    "sudoku": ("sudoku", "puzzle.txt"),
    "maze": ("maze", "maze.txt"),
    "sudoku-6x6-hrm": ("docs/measurements/systems/hrm.pt", "puzzles-6x6.txt"),
}
WIDTH, HEIGHT = 6.0, 3.2  # inches
# Of letters and digits, whose size is meant for a picture of one board alone.
SMALLER = 0.48


def solved(model: str, file: Path) -> Answer:
    """The answer to a file's first puzzle; raises `TrmDeployError` where it is not verified."""
    path = ROOT / model
    with Solver(path if path.exists() else model) as solver:
        first = next(puzzles.questions(str(file), puzzles.get(solver.task)))
        answer = solver.solve(first.text)
    if not answer.verified:
        raise TrmDeployError(f"{file}: {model} does not solve its first puzzle")
    return answer


def draw(figure: Any, answer: Answer) -> None:
    """Question and answer beside each other."""
    assert answer.task is not None
    assert answer.question is not None
    words = f"answer, {answer.total_steps} supervision step{'s' * (answer.total_steps > 1)}"
    panels = ((answer.question, "question"), (answer.tokens, words))
    for axes, (tokens, title) in zip(figure.subplots(1, 2), panels):
        axes.set_axis_off()
        axes.set_aspect("equal")
        axes.set_title(title, fontsize=9)
        answer.task.plot(axes, answer.question, tokens)
        for text in axes.texts:
            blank = text.get_text() == "."
            text.set_fontsize(SMALLER * text.get_fontsize())
            text.set_visible(not blank)


def main(output: Annotated[Path, typer.Option(help="Folder for the PNG files.")] = ROOT / "docs" / "images") -> None:
    """Draw the pictures."""
    for name, (model, file) in PICTURES.items():
        path = output / f"{name}.png"
        write_figure(path, partial(draw, answer=solved(model, ROOT / "examples" / file)), width=WIDTH, height=HEIGHT)
        print(f"wrote {path} ({path.stat().st_size // 1024} KiB)")


if __name__ == "__main__":
    run_script(main)
