"""`trm-deploy data build ...`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Optional

import typer

from trm_deploy.cli.command import Command, Group

log = logging.getLogger(__name__)

data_app = typer.Typer(cls=Group, rich_markup_mode=None, help="Datasets to train on.")
build_app = typer.Typer(cls=Group, rich_markup_mode=None, help="Build a dataset in the published layout.")
data_app.add_typer(build_app, name="build")

Csv = Annotated[Optional[Path], typer.Option("--csv", help="Published training file: source,question,answer,rating.")]
TestCsv = Annotated[Optional[Path], typer.Option("--test-csv", help="Published test file.")]
Subsample = Annotated[
    Optional[int], typer.Option("--subsample", min=1, help="Use so many of the training file, chosen at random.")
]
Augment = Annotated[int, typer.Option("--augment", min=0, help="Further forms of each training puzzle.")]
TrainCount = Annotated[
    Optional[int], typer.Option("--train", min=1, help="Training puzzles to generate; 1000 if left out.")
]
TestCount = Annotated[Optional[int], typer.Option("--test", min=1, help="Test puzzles to generate; 1000 if left out.")]
DataSeed = Annotated[int, typer.Option("--seed", min=0, help="The same seed gives the same files.")]
DataOutput = Annotated[
    Optional[Path], typer.Option("-o", "--output", help="The dataset's folder; data/ and the task's name if left out.")
]
Force = Annotated[bool, typer.Option("--force", help="Write over a dataset that lies there.")]


@build_app.command("sudoku", cls=Command)
def build_sudoku(
    size: Annotated[str, typer.Option("--size", help="9x9, 6x6 or 4x4.")] = "9x9",
    csv: Csv = None,
    test_csv: TestCsv = None,
    subsample: Subsample = None,
    augment: Augment = 0,
    train: TrainCount = None,
    test: TestCount = None,
    seed: DataSeed = 0,
    output: DataOutput = None,
    force: Force = False,
) -> None:
    """Sudoku puzzles, generated or from the published Sudoku-Extreme files."""
    from trm_deploy.train.data.builders.common import DatasetOptions
    from trm_deploy.train.data.builders.sudoku import build_sudoku

    options = DatasetOptions(
        output=output,
        csv=csv,
        test_csv=test_csv,
        train=train,
        test=test,
        subsample=subsample,
        augment=augment,
        seed=seed,
        force=force,
    )
    log.info(build_sudoku(size, options))


@build_app.command("maze", cls=Command)
def build_maze(
    size: Annotated[str, typer.Option("--size", help="Rows x columns.")] = "30x30",
    csv: Csv = None,
    test_csv: TestCsv = None,
    subsample: Subsample = None,
    augment: Augment = 0,
    train: TrainCount = None,
    test: TestCount = None,
    min_path: Annotated[
        Optional[int],
        typer.Option("--min-path", min=1, help="Steps of the shortest paths at the least; 112 for 30x30 if left out."),
    ] = None,
    seed: DataSeed = 0,
    output: DataOutput = None,
    force: Force = False,
) -> None:
    """Mazes, generated or from the published Maze-Hard files."""
    from trm_deploy.train.data.builders.common import DatasetOptions
    from trm_deploy.train.data.builders.maze import build_maze

    options = DatasetOptions(
        output=output,
        csv=csv,
        test_csv=test_csv,
        train=train,
        test=test,
        subsample=subsample,
        augment=augment,
        seed=seed,
        force=force,
    )
    log.info(build_maze(size, options, min_path=min_path))


@build_app.command("arc", cls=Command)
def build_arc(
    test_challenges: Annotated[
        list[str], typer.Option("--test-challenges", help="Tasks to test: their demonstrations are trained on.")
    ],
    challenges: Annotated[
        Optional[list[str]], typer.Option("--challenges", help="Tasks to train on with their test inputs.")
    ] = None,
    solutions: Annotated[
        Optional[list[str]], typer.Option("--solutions", help="Outputs of the test inputs, of either.")
    ] = None,
    augment: Annotated[int, typer.Option("--augment", min=0, help="Augmentations of each task.")] = 1000,
    seed: DataSeed = 0,
    output: DataOutput = None,
    force: Force = False,
) -> None:
    """ARC from the ARC Prize's JSON files; each option may be given more than once."""
    from trm_deploy.train.data.builders.arc import ArcDatasetOptions, build_arc

    options = ArcDatasetOptions(
        challenges=tuple(challenges or ()),
        test_challenges=tuple(test_challenges),
        solutions=tuple(solutions or ()),
        augment=augment,
        seed=seed,
        output=output,
        force=force,
    )
    log.info(build_arc(options))
