"""`trm-deploy data build ...`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Optional

import typer

from trm_deploy.cli.command import Command, Group
from trm_deploy.cli.options import Column, Force
from trm_deploy.cli.values import matching, one_of, whole
from trm_deploy.train.data import defaults

log = logging.getLogger(__name__)

SUDOKU_SIZES = ("9x9", "6x6", "4x4")

data_app = typer.Typer(cls=Group, rich_markup_mode=None, help="Build datasets to train on.")
build_app = typer.Typer(cls=Group, rich_markup_mode=None, help="Build a dataset in the layout of the published code.")
data_app.add_typer(build_app, name="build")

Csv = Annotated[
    Optional[Path],
    typer.Option(
        "--csv", metavar="FILE", help="Training file: CSV or JSON Lines with a column of puzzles and one of answers."
    ),
]
TestCsv = Annotated[Optional[Path], typer.Option("--test-csv", metavar="FILE", help="Test file, in the same form.")]
Subsample = Annotated[
    Optional[int],
    typer.Option("--subsample", **whole(1), help="Use only N puzzles of the training file, chosen at random."),
]
Augment = Annotated[
    int, typer.Option("--augment", **whole(0), help="Number of symmetric forms to add for each training puzzle.")
]
TrainCount = Annotated[
    Optional[int],
    typer.Option(
        "--train", **whole(1), help="Number of training puzzles to generate.", show_default=str(defaults.PUZZLES)
    ),
]
TestCount = Annotated[
    Optional[int],
    typer.Option("--test", **whole(1), help="Number of test puzzles to generate.", show_default=str(defaults.PUZZLES)),
]
DataSeed = Annotated[int, typer.Option("--seed", **whole(0), help="Random seed; the same seed gives the same files.")]
DataOutput = Annotated[
    Optional[Path],
    typer.Option("-o", "--output", metavar="FOLDER", help="Folder of the dataset.", show_default="data/TASK"),
]


@build_app.command("sudoku", cls=Command)
def build_sudoku(
    size: Annotated[str, typer.Option("--size", **one_of(SUDOKU_SIZES), help="Size of the grid.")] = "9x9",
    csv: Csv = None,
    test_csv: TestCsv = None,
    column: Column = None,
    subsample: Subsample = None,
    augment: Augment = 0,
    train: TrainCount = None,
    test: TestCount = None,
    min_guesses: Annotated[
        Optional[int],
        typer.Option(
            "--min-guesses",
            **whole(1),
            help="Generate only minimal puzzles that take a solver N wrong guesses or more.",
            show_default="easier ones, with more givens",
        ),
    ] = None,
    seed: DataSeed = 0,
    output: DataOutput = None,
    force: Force = False,
) -> None:
    """Build a Sudoku dataset: generated, or from the published Sudoku-Extreme files."""
    from trm_deploy.train.data.builders.common import DatasetOptions
    from trm_deploy.train.data.builders.sudoku import build_sudoku

    options = DatasetOptions(
        output=output,
        csv=csv,
        test_csv=test_csv,
        column=column,
        train=train,
        test=test,
        subsample=subsample,
        augment=augment,
        seed=seed,
        force=force,
    )
    log.info(build_sudoku(size, options, min_guesses=min_guesses))


@build_app.command("maze", cls=Command)
def build_maze(
    size: Annotated[
        str,
        typer.Option(
            "--size",
            **matching(r"\d{1,3}x\d{1,3}", "ROWSxCOLUMNS, such as 30x30", "ROWSxCOLUMNS"),
            help="Size of the grid.",
        ),
    ] = "30x30",
    csv: Csv = None,
    test_csv: TestCsv = None,
    column: Column = None,
    subsample: Subsample = None,
    augment: Augment = 0,
    train: TrainCount = None,
    test: TestCount = None,
    min_path: Annotated[
        Optional[int],
        typer.Option(
            "--min-path",
            **whole(1),
            help="Minimum length of the shortest path, in steps.",
            show_default="112 for 30x30, less for smaller mazes",
        ),
    ] = None,
    seed: DataSeed = 0,
    output: DataOutput = None,
    force: Force = False,
) -> None:
    """Build a maze dataset: generated, or from the published Maze-Hard files."""
    from trm_deploy.train.data.builders.common import DatasetOptions
    from trm_deploy.train.data.builders.maze import build_maze

    options = DatasetOptions(
        output=output,
        csv=csv,
        test_csv=test_csv,
        column=column,
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
        list[str],
        typer.Option(
            "--test-challenges",
            metavar="FILE",
            help="Challenges file of the tasks to test on; their demonstrations are trained on; repeatable.",
        ),
    ],
    challenges: Annotated[
        Optional[list[str]],
        typer.Option(
            "--challenges",
            metavar="FILE",
            help="Challenges file of tasks to train on, test inputs included; repeatable.",
        ),
    ] = None,
    solutions: Annotated[
        Optional[list[str]],
        typer.Option(
            "--solutions", metavar="FILE", help="Solutions file with the outputs of the test inputs; repeatable."
        ),
    ] = None,
    augment: Annotated[
        int, typer.Option("--augment", **whole(0), help="Number of augmentations of each task.")
    ] = defaults.AUGMENTATIONS,
    canvas: Annotated[
        int,
        typer.Option("--canvas", **whole(1, 30), help="Side of the canvas; tasks with a larger grid are left out."),
    ] = 30,
    seed: DataSeed = 0,
    output: DataOutput = None,
    force: Force = False,
) -> None:
    """Build an ARC dataset from the JSON files of the ARC Prize."""
    from trm_deploy.train.data.builders.arc import ArcDatasetOptions, build_arc

    options = ArcDatasetOptions(
        challenges=tuple(challenges or ()),
        test_challenges=tuple(test_challenges),
        solutions=tuple(solutions or ()),
        augment=augment,
        canvas=canvas,
        seed=seed,
        output=output,
        force=force,
    )
    log.info(build_arc(options))
