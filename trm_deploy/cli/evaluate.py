"""`trm-deploy evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from trm_deploy.cli.options import (
    AllowHostCode,
    Batch,
    Budget,
    Column,
    Compile,
    Device,
    HaltThreshold,
    InFlight,
    InputFormat,
    Json,
    Limit,
    Overrides,
    Runtime,
    Seed,
    Speculate,
    TorchPrecision,
)
from trm_deploy.cli.values import one_of, whole, whole_list
from trm_deploy.errors import InputError
from trm_deploy.spec import MAX_STEPS
from trm_deploy.support.jsontext import dumps


def evaluate(
    engine: Annotated[Path, typer.Argument(metavar="ENGINE", help="ONNX file, TensorRT plan or checkpoint.")],
    dataset: Annotated[
        str,
        typer.Argument(
            metavar="DATASET",
            help="Folder in the published layout (test/all__inputs.npy), a CSV or JSON Lines file with puzzles and"
            " answers, or ARC tasks; - reads standard input.",
        ),
    ],
    split: Annotated[
        str, typer.Option("--split", **one_of(("train", "test")), help="Part of a folder in the published layout.")
    ] = "test",
    limit: Limit = None,
    by: Annotated[
        Optional[str],
        typer.Option(
            "--by",
            metavar="NAME",
            help="Column, or key, by whose values the shares are also shown.",
            show_default="the one that rates puzzles, such as difficulty or rating, if any",
        ),
    ] = None,
    solutions: Annotated[
        Optional[list[str]],
        typer.Option(
            "--solutions",
            metavar="FILE",
            help="ARC solutions file; repeatable.",
            show_default="the one beside the challenges, by its name",
        ),
    ] = None,
    attempts: Annotated[
        Optional[int],
        typer.Option(
            "--attempts",
            **whole(1),
            help="Maximum number of attempts at a puzzle; each one after the first solves a symmetric form of it. For"
            " ARC: augmentations that vote.",
            show_default="1: the plain model; for ARC all that were trained",
        ),
    ] = None,
    attempt_steps: Annotated[
        Optional[tuple],  # type: ignore[type-arg]  # typer knows no tuple of any length
        typer.Option(
            "--attempt-steps",
            "--max-steps",
            **whole_list(1, MAX_STEPS),
            help="Maximum number of supervision steps of an attempt, or of each in turn; the last repeats.",
            show_default="the model's own",
        ),
    ] = None,
    budget: Budget = None,
    halt_threshold: HaltThreshold = None,
    batch: Batch = None,
    in_flight: InFlight = None,
    speculate: Speculate = None,
    seed: Seed = 0,
    input_format: InputFormat = None,
    column: Column = None,
    device: Device = "cpu",
    precision: TorchPrecision = None,
    compiled: Compile = False,
    runtime: Runtime = None,
    overrides: Overrides = None,
    allow_host_code: AllowHostCode = False,
    as_json: Json = False,
) -> None:
    """Measure which share of a dataset a model gets right, in how many steps, and by difficulty.

    A model halts by itself; --halt-threshold inf keeps all steps, as the published evaluation does. Exit code 2: a
    puzzle cannot be read; the others are counted.
    """
    from trm_deploy import api

    found = api.evaluate(
        engine,
        dataset,
        split=split,
        limit=limit,
        by=by,
        solutions=solutions or (),
        attempts=attempts,
        attempt_steps=attempt_steps,
        budget=budget,
        halt_threshold=halt_threshold,
        batch=batch,
        in_flight=in_flight,
        speculate=speculate,
        seed=seed,
        input_format=input_format,
        column=column,
        device=device,
        precision=precision,
        compiled=compiled,
        runtime=runtime,
        overrides=overrides or (),
        allow_host_code=allow_host_code,
    )
    print(dumps(found.to_plain(), indent=2) if as_json else found.table(), flush=True)
    if found.unreadable:
        raise typer.Exit(InputError.exit_code)
