"""The commands: parse, call, print. What they do stands elsewhere; heavy imports wait until a command needs them."""

from __future__ import annotations

import contextlib
import io
import logging
import math
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, NoReturn, Optional

import typer

import trm_deploy
from trm_deploy.errors import InputError, Interrupted, TrmDeployError
from trm_deploy.spec import MAX_STEPS
from trm_deploy.support.files import refuse_folder
from trm_deploy.support.jsontext import dumps

app = typer.Typer(
    name="trm-deploy",
    help="Takes recursive reasoning models (TRM, HRM) from a checkpoint to ONNX, runs them, proves parity.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


# typer shows only the leaves of its usage errors, and where their base comes from differs with its version.
UsageError: Any = typer.BadParameter.__mro__[2]


class Format(str, Enum):
    """--format."""

    onnx = "onnx"
    trt = "trt"
    rtx = "rtx"


class GraphForm(str, Enum):
    """--graph."""

    loop = "loop"
    step = "step"
    unrolled = "unrolled"


class Precision(str, Enum):
    """--precision."""

    fp32 = "fp32"
    fp16 = "fp16"
    bf16 = "bf16"
    int8 = "int8"


class DeviceName(str, Enum):
    """--device."""

    cpu = "cpu"
    cuda = "cuda"


Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Limit = Annotated[Optional[int], typer.Option("--limit", min=1, help="Use the first so many puzzles.")]
MaxSteps = Annotated[
    Optional[int], typer.Option("--max-steps", min=1, max=MAX_STEPS, help="Supervision steps at the most.")
]


def _number(value: Optional[float]) -> Optional[float]:
    if value is not None and math.isnan(value):
        raise typer.BadParameter("nan is no threshold, expected a number, inf or -inf")
    return value


HaltThreshold = Annotated[
    Optional[float],
    typer.Option("--halt-threshold", callback=_number, help="Halt when the halting logit exceeds this; or inf: never."),
]
AllowHostCode = Annotated[
    bool, typer.Option("--allow-host-code", help="Load a version-compatible plan, which carries processor code.")
]
Settings = Annotated[
    Optional[list[str]],
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="What a published checkpoint does not say, as in arch.H_cycles=3; repeatable.",
    ),
]
TorchPrecision = Annotated[
    Optional[Precision], typer.Option("--precision", help="Of a checkpoint: fp32, bf16 or fp16.  [default: fp32]")
]
Compile = Annotated[
    bool, typer.Option("--compile", help="Run a checkpoint through torch.compile: a slow start, then fast.")
]
Device = Annotated[DeviceName, typer.Option("--device", help="Where to run.")]


def _version(asked: bool) -> None:
    if asked:
        print(f"trm-deploy {trm_deploy.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks, and what TensorRT logs.")] = False,
) -> None:
    pass


@app.command()
def train(
    recipe: Annotated[Optional[str], typer.Argument(help="A shipped recipe's name, or a TOML file.")] = None,
    output: Annotated[Optional[Path], typer.Option("-o", "--output", help="The run's folder.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the folder's last checkpoint.")] = False,
    data: Annotated[
        Optional[Path], typer.Option("--data", help="A dataset's folder, in place of the recipe's data.folder.")
    ] = None,
    device: Annotated[
        Optional[DeviceName], typer.Option("--device", help="Where to train, in place of training.device.")
    ] = None,
) -> None:
    """Train a model; the folder's ema.pt is the checkpoint to export. Several processes train under torchrun."""
    from trm_deploy.errors import require

    require("torch", extra="train", purpose="to train")
    require("numba", extra="train", purpose="to make training puzzles")
    from trm_deploy.train import distributed
    from trm_deploy.train import recipe as recipes
    from trm_deploy.train.trainer import Trainer

    if recipe is None:
        raise InputError(f"no recipe is named, expected one of {', '.join(recipes.shipped())} or a TOML file")
    loaded = recipes.load(recipe).with_flags(data=str(data) if data else None, device=device.value if device else None)
    folder = output or Path("runs") / Path(recipe).stem
    with distributed.joined(loaded.training.device) as ranks:
        with _resumable(folder / "resume.pt"):
            Trainer(loaded, folder, resume=resume, ranks=ranks).run()
        if ranks.first:
            print(f"wrote {folder / 'ema.pt'}; type: trm-deploy export {folder / 'ema.pt'}", file=sys.stderr)
        distributed.leave(ranks)


data_app = typer.Typer(help="Datasets to train on.")
build_app = typer.Typer(help="Build a dataset in the published layout.")
app.add_typer(data_app, name="data")
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


@build_app.command("sudoku")
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
    from trm_deploy.errors import require

    require("numba", extra="train", purpose="to make puzzles")
    from trm_deploy.train.data.builders.common import BuildSettings
    from trm_deploy.train.data.builders.sudoku import build_sudoku

    settings = BuildSettings(
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
    print(build_sudoku(size, settings), file=sys.stderr)


@build_app.command("maze")
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
    from trm_deploy.errors import require

    require("numba", extra="train", purpose="to make puzzles")
    from trm_deploy.train.data.builders.common import BuildSettings
    from trm_deploy.train.data.builders.maze import build_maze

    settings = BuildSettings(
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
    print(build_maze(size, settings, min_path=min_path), file=sys.stderr)


@build_app.command("arc")
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
    from trm_deploy.train.data.builders.arc import ArcSettings, build_arc

    settings = ArcSettings(
        challenges=tuple(challenges or ()),
        test_challenges=tuple(test_challenges),
        solutions=tuple(solutions or ()),
        augment=augment,
        seed=seed,
        output=output,
        force=force,
    )
    print(build_arc(settings), file=sys.stderr)


@app.command()
def export(
    source: Annotated[Path, typer.Argument(help="A checkpoint; for trt and rtx also an ONNX file that export made.")],
    format: Annotated[Format, typer.Option("--format", help="What to make.")] = Format.onnx,
    graph: Annotated[
        Optional[GraphForm], typer.Option("--graph", help="The form of the graph.  [default: loop]")
    ] = None,
    steps: Annotated[Optional[int], typer.Option("--steps", help="Supervision steps of the unrolled form.")] = None,
    precision: Annotated[
        Optional[Precision],
        typer.Option("--precision", help="Of weights and activations.  [default: fp32 for onnx, else fp16]"),
    ] = None,
    opset: Annotated[Optional[int], typer.Option("--opset", help="ONNX opset, 18 to 20.  [default: 20]")] = None,
    unroll_inner: Annotated[bool, typer.Option("--unroll-inner", help="Write the inner recursions out.")] = False,
    target: Annotated[
        Optional[str], typer.Option("--target", help="The device, such as jetson-orin-nano: checks what it can read.")
    ] = None,
    batch: Annotated[
        Optional[str], typer.Option("--batch", help="Engine's batch sizes MIN:OPT:MAX.  [default: the target's]")
    ] = None,
    workspace: Annotated[
        Optional[int], typer.Option("--workspace", min=1, help="Builder's device memory, MiB.")
    ] = None,
    opt_level: Annotated[Optional[int], typer.Option("--opt-level", min=0, max=5, help="Builder's effort.")] = None,
    timing_cache: Annotated[Optional[Path], typer.Option("--timing-cache", help="File with tactic timings.")] = None,
    version_compatible: Annotated[
        bool, typer.Option("--version-compatible", help="Plan for newer TensorRT too.")
    ] = False,
    hardware_compatible: Annotated[
        bool, typer.Option("--hardware-compatible", help="Plan for other GPUs from Ampere on too.")
    ] = False,
    max_aux_streams: Annotated[Optional[int], typer.Option("--max-aux-streams", min=0, help="CUDA streams.")] = None,
    compute_capability: Annotated[
        Optional[str],
        typer.Option("--compute-capability", help="GPUs to build for ahead of time, as in 8.6,8.9 (rtx)."),
    ] = None,
    calibrate: Annotated[
        Optional[Path],
        typer.Option("--calibrate", help="Puzzles for an int8 engine's scales, in place of the package's."),
    ] = None,
    settings: Settings = None,
    identifiers: Annotated[
        Optional[Path],
        typer.Option("--identifiers", help="Names of the puzzle ids, JSON.  [default: identifiers.json beside it]"),
    ] = None,
    output: Annotated[Optional[Path], typer.Option("-o", "--output", help="The file to write.")] = None,
) -> None:
    """Export to ONNX or on to an engine, with halting inside the graph, and check parity with PyTorch."""
    from trm_deploy.export.engine.build import BuilderOptions
    from trm_deploy.export.pipeline import ExportRequest, fulfil

    request = ExportRequest(
        source=source,
        format=format.value,
        graph=graph.value if graph else None,
        steps=steps,
        precision=precision.value if precision else None,
        opset=opset,
        unroll_inner=unroll_inner,
        target=target,
        batch=batch,
        options=BuilderOptions(
            workspace_mib=workspace,
            opt_level=opt_level,
            timing_cache=timing_cache,
            version_compatible=version_compatible,
            hardware_compatible=hardware_compatible,
            max_aux_streams=max_aux_streams,
        ),
        compute_capability=compute_capability,
        settings=tuple(settings or ()),
        identifiers=identifiers,
        calibrate=calibrate,
        output=output,
    )

    def verify(loaded: Any, engine: Path, name: str) -> Any:
        from trm_deploy.evaluation import parity as parities

        report = parities.verify_export(loaded, engine, name)
        print(report.table(), file=sys.stderr)
        return report

    fulfil(request, verify=verify)


@app.command()
def run(
    puzzles: Annotated[list[str], typer.Argument(help="Files with puzzles, or - for standard input.")],
    engine: Annotated[
        Optional[Path],
        typer.Option("-e", "--engine", help="ONNX file, plan or checkpoint; the shipped model if left out."),
    ] = None,
    attempts: Annotated[
        Optional[int],
        typer.Option(
            "--attempts",
            min=1,
            help="Tries a puzzle, under its symmetries.  [default: 1; of ARC all augmentations that were trained]",
        ),
    ] = None,
    max_steps: MaxSteps = None,
    halt_threshold: HaltThreshold = None,
    batch: Annotated[
        Optional[int],
        typer.Option(
            "--batch",
            min=1,
            help="Puzzles at a time.  [default: 8 where puzzles are in flight, else 1]",
        ),
    ] = None,
    in_flight: Annotated[
        Optional[bool],
        typer.Option(
            "--in-flight/--no-in-flight",
            help="Whether a puzzle that halts makes room at once; needs the step form.  [default: where it is there]",
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the symmetries.")] = 0,
    solutions: Annotated[
        Optional[list[str]], typer.Option("--solutions", help="Solutions file of ARC: says how many are right.")
    ] = None,
    output: Annotated[
        Optional[Path],
        typer.Option("-o", "--output", help="File for the answers, one JSON object a line; of ARC for the submission."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where the output file ends.")] = False,
    device: Device = DeviceName.cpu,
    precision: TorchPrecision = None,
    compiled: Compile = False,
    allow_host_code: AllowHostCode = False,
    as_json: Json = False,
    png: Annotated[
        Optional[Path], typer.Option("--png", help="Folder: draw the answers into it, 0001.png and so on.")
    ] = None,
) -> None:
    """Solve puzzles and verify the answers; of ARC, let the answers vote."""
    from trm_deploy.runtimes.solving import session as running

    if png is not None:
        from trm_deploy.support.figures import require_matplotlib

        require_matplotlib()
    settings = running.RunSettings(
        attempts=attempts,
        max_steps=max_steps,
        halt_threshold=halt_threshold,
        batch_size=batch,
        in_flight=in_flight,
        seed=seed,
    )
    if resume and output is None:
        raise InputError("--resume goes with -o: a file whose end tells where to go on", hint="add -o FILE")
    opened = running.open_engine(
        engine,
        device=device.value,
        allow_host_code=allow_host_code,
        precision=precision.value if precision else None,
        compiled=compiled,
    )
    show: Callable[..., None] = _RUNS.get(opened.puzzle.name, _run_verified)
    show(opened, puzzles, settings, as_json=as_json, png=png, solutions=solutions, output=output, resume=resume)


def _run_verified(
    opened: Any,
    puzzles: list[str],
    settings: Any,
    *,
    as_json: bool,
    png: Optional[Path],
    solutions: Optional[list[str]],
    output: Optional[Path],
    resume: bool,
) -> None:
    from contextlib import ExitStack

    from trm_deploy.runtimes.solving import session as running
    from trm_deploy.runtimes.solving.answer_file import AnswerFile, count_puzzles
    from trm_deploy.runtimes.solving.scheduling import Work
    from trm_deploy.support.progress import progress

    if solutions is not None:
        raise InputError(
            f"--solutions goes with ARC, the engine is for {opened.puzzle.name}", hint="leave out --solutions"
        )
    work = Work()
    with ExitStack() as stack:
        file = None
        if output is not None:
            stack.enter_context(_resumable(output))
            file = stack.enter_context(AnswerFile(output, opened, puzzles, settings, resume=resume))
        done, unreadable, solved = (file.done, file.unreadable, 0) if file else (0, 0, 0)
        # Where the answers themselves do not show how far it has come.
        silent = (file is not None and not as_json) or not sys.stdout.isatty()
        advance = None
        if silent:
            advance = stack.enter_context(progress("solving", count_puzzles(puzzles), done=done, unit="puzzles"))
        number = done
        for number, outcome in enumerate(running.run(opened, puzzles, settings, done=done, work=work), start=done + 1):
            unreadable += outcome.answer is None
            solved += outcome.answer is not None and outcome.answer.verified
            if file is not None:
                file.write(outcome)
            if as_json:
                print(dumps(outcome.to_plain()), flush=True)
            elif file is None and outcome.answer is not None:
                print(outcome.to_text(colour=sys.stdout.isatty()), flush=True)
            if outcome.answer is None and not as_json:
                print(f"error: {outcome.question.error}", file=sys.stderr)
            if png is not None:
                outcome.write_png(png / f"{number:04}.png")
            if advance is not None:
                advance(1, f"{(number - done) / max(work.seconds, 1e-9):.1f} puzzles a second")
    if number - done > 1 or file is not None:
        print(
            f"{number - done} puzzles, {solved} verified, in {work.seconds:.1f} s of computing:"
            f" {(number - done) / max(work.seconds, 1e-9):.1f} puzzles a second, {work.to_text()}",
            file=sys.stderr,
        )
    if unreadable:
        raise typer.Exit(InputError.exit_code)


def _run_arc(
    opened: Any,
    puzzles: list[str],
    settings: Any,
    *,
    as_json: bool,
    png: Optional[Path],
    solutions: Optional[list[str]],
    output: Optional[Path],
    resume: bool,
) -> None:
    from trm_deploy.puzzles.arc_tasks import read_solutions, read_tasks, with_solutions
    from trm_deploy.runtimes.solving import voting as arc_running
    from trm_deploy.support.files import write_atomic

    if resume:
        raise InputError("--resume goes with puzzles that are verified one by one, not with ARC", hint="leave it out")
    refuse_folder(output)
    answers = read_solutions(solutions or ())
    tasks = [with_solutions(task, answers) for task in read_tasks(puzzles)]
    outcomes = []
    for number, outcome in enumerate(arc_running.run(opened, tasks, settings), start=1):
        outcomes.append(outcome)
        if not as_json:
            print(outcome.to_text(colour=sys.stdout.isatty()), flush=True)
        if png is not None:
            outcome.write_png(png / f"{number:04}.png")
    document = dumps(arc_running.submission(outcomes))
    if as_json:
        print(document)
    if output is not None:
        write_atomic(output, document)
        print(f"wrote {output}", file=sys.stderr)
    for line in arc_running.summary(outcomes):
        print(line, file=sys.stderr)


# How the puzzles of a task are run, where it is not by verifying each answer.
_RUNS: dict[str, Callable[..., None]] = {"arc": _run_arc}


@app.command()
def parity(
    checkpoint: Annotated[Path, typer.Argument(help="The reference.")],
    engines: Annotated[
        list[Path], typer.Argument(help="ONNX files and plans made from it; or itself, in another precision.")
    ],
    puzzles: Annotated[
        Optional[str],
        typer.Option("--puzzles", help="File with puzzles; those that come with the package if left out."),
    ] = None,
    limit: Limit = None,
    max_steps: MaxSteps = None,
    halt_threshold: HaltThreshold = None,
    attempts: Annotated[
        int, typer.Option("--attempts", min=1, help="Tries a puzzle, under its symmetries, for the verified share.")
    ] = 1,
    controls: Annotated[
        int, typer.Option("--controls", min=1, help="Draws of the control: PyTorch with its weights 1 ulp off.")
    ] = 3,
    report: Annotated[
        Optional[Path], typer.Option("--report", help="Folder for report.md, report.json and pictures.")
    ] = None,
    baseline: Annotated[
        Optional[Path],
        typer.Option("--baseline", help="The last accepted report.json: fails where an engine solves less than there."),
    ] = None,
    atol: Annotated[
        Optional[float],
        typer.Option("--atol", help="Bound on a step from the same state, in place of the precision's."),
    ] = None,
    rtol: Annotated[
        Optional[float], typer.Option("--rtol", help="The same relative to the expected: atol + rtol * |expected|.")
    ] = None,
    settings: Settings = None,
    precision: TorchPrecision = None,
    compiled: Compile = False,
    device: Device = DeviceName.cpu,
    allow_host_code: AllowHostCode = False,
    as_json: Json = False,
) -> None:
    """Compare engines with PyTorch, from the same state and running free; exit code 3 where one fails."""
    from trm_deploy.errors import require

    require("torch", extra="export", purpose="to compare with PyTorch")
    if report is not None:
        _check_report_folder(report)
    from trm_deploy.evaluation import parity as parities

    found = parities.compare_files(
        checkpoint,
        engines,
        puzzles=puzzles,
        limit=limit,
        max_steps=max_steps,
        halt_threshold=halt_threshold,
        attempts=attempts,
        controls=controls,
        baseline=baseline,
        atol=atol,
        rtol=rtol,
        precision=precision.value if precision else None,
        compiled=compiled,
        settings=settings or (),
        device=device.value,
        allow_host_code=allow_host_code,
    )
    print(dumps(found.to_plain(), indent=2) if as_json else found.table(), flush=True)
    if report is not None:
        found.write(report)
        print(f"wrote {report / 'report.md'}", file=sys.stderr)
    found.raise_if_failed()


def _check_report_folder(folder: Optional[Path]) -> None:
    """Before the work: what would keep a report from being written."""
    from trm_deploy.support.figures import require_matplotlib

    if folder is not None and folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file, expected a folder for the report")
    require_matplotlib()


@app.command()
def tune(
    engine: Annotated[Path, typer.Argument(help="ONNX file, plan or checkpoint.")],
    puzzles: Annotated[str, typer.Argument(help="File with puzzles.")],
    max_loss: Annotated[
        Optional[float],
        typer.Option(
            "--max-loss",
            min=0,
            help="Points of the solved share that may be lost.  [default: 0.2, or none with --mean-steps]",
        ),
    ] = None,
    mean_steps: Annotated[
        Optional[float], typer.Option("--mean-steps", min=1, help="Supervision steps a puzzle at the most, on average.")
    ] = None,
    limit: Limit = None,
    max_steps: MaxSteps = None,
    write: Annotated[bool, typer.Option("--write", help="Make the threshold the artefact's default.")] = False,
    report: Annotated[
        Optional[Path], typer.Option("--report", help="Folder for tune.md, tune.json and tune.png.")
    ] = None,
    output: Annotated[Optional[Path], typer.Option("-o", "--output", help="PNG file: solved share and steps.")] = None,
    device: Device = DeviceName.cpu,
    allow_host_code: AllowHostCode = False,
    as_json: Json = False,
) -> None:
    """Choose the halting threshold: solved share against mean steps, for every threshold from one pass."""
    from trm_deploy.evaluation import tuning
    from trm_deploy.runtimes.solving import session as running

    if report is not None or output is not None:
        _check_report_folder(report)
    refuse_folder(output)
    opened = running.open_engine(engine, device=device.value, allow_host_code=allow_host_code)
    if write:
        tuning.check_writable(opened)
    settings = tuning.TuneSettings(max_loss=max_loss, mean_steps=mean_steps, limit=limit, max_steps=max_steps)
    tuned = tuning.tune(opened, puzzles, settings)
    print(dumps(tuned.to_plain(), indent=2) if as_json else tuned.table(), flush=True)
    if write:
        print(tuning.write_threshold(opened, tuned.recommended.threshold), file=sys.stderr)
    if report is not None:
        tuned.write(report)
        print(f"wrote {report / 'tune.md'}", file=sys.stderr)
    if output is not None:
        tuned.write_png(output)
        print(f"wrote {output}", file=sys.stderr)


@app.command()
def benchmark(
    files: Annotated[list[Path], typer.Argument(help="Checkpoints, ONNX files and plans of one model.")],
    puzzles: Annotated[
        Optional[str],
        typer.Option("--puzzles", help="File with puzzles; those that come with the package if left out."),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Use the first so many puzzles.")] = 200,
    repeats: Annotated[int, typer.Option("--repeats", min=1, help="Of the measurements in batches.")] = 3,
    batch: Annotated[
        Optional[int], typer.Option("--batch", min=1, help="Puzzles at a time.  [default: what is fastest of each]")
    ] = None,
    only: Annotated[
        Optional[list[str]], typer.Option("--only", help="Row to measure, by its name; repeatable.")
    ] = None,
    max_steps: MaxSteps = None,
    halt_threshold: HaltThreshold = None,
    settings: Settings = None,
    device: Device = DeviceName.cpu,
    allow_host_code: AllowHostCode = False,
    as_json: Json = False,
    png: Annotated[Optional[Path], typer.Option("--png", help="Draw the figures into this file.")] = None,
) -> None:
    """Measure every way to run a model side by side: latency, throughput, solved share, share of the limit."""
    from trm_deploy.evaluation.benchmark.files import benchmark_files

    if png is not None:
        from trm_deploy.support.figures import require_matplotlib

        require_matplotlib()
    refuse_folder(png, "--png")
    report = benchmark_files(
        files,
        puzzles=puzzles,
        limit=limit,
        repeats=repeats,
        batch=batch,
        max_steps=max_steps,
        halt_threshold=halt_threshold,
        settings=settings or (),
        device=device.value,
        allow_host_code=allow_host_code,
        only=only or (),
    )
    print(dumps(report.to_plain(), indent=2) if as_json else report.table(), flush=True)
    if png is not None:
        report.write_png(png)


@app.command()
def inspect(
    artefact: Annotated[Path, typer.Argument(help="A checkpoint, an ONNX file or a plan.")],
    settings: Settings = None,
    as_json: Json = False,
) -> None:
    """Say what an artefact is."""
    from trm_deploy.inspection.artefact import inspect

    _print_document(inspect(artefact, settings or ()), as_json)


@app.command()
def doctor(as_json: Json = False) -> None:
    """Say what this machine can do, and how to get what is missing."""
    from trm_deploy.inspection.artefact import doctor

    _print_document(doctor(), as_json)


def _print_document(document: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(dumps(document, indent=2))
        return
    width = max(len(key) for key in document)
    for key, value in document.items():
        if isinstance(value, dict):
            value = ", ".join(f"{name} {entry}" for name, entry in value.items())
        elif isinstance(value, list):
            value = ("\n" + " " * (width + 2)).join(map(str, value))
        print(f"{key.replace('_', ' '):{width}}  {value}")


def main() -> None:
    """Entry point: the one place that turns errors into a message and an exit code."""
    debug = "--debug" in sys.argv[1:]
    if debug:
        logging.basicConfig()
        logging.getLogger("trm_deploy").setLevel(logging.DEBUG)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a file's name need not be text that the terminal can show
            stream.reconfigure(errors="backslashreplace")
    signal.signal(signal.SIGTERM, _terminated)
    try:
        # Without standalone mode, errors reach this place and an exit code comes back as a value; so does Ctrl-C.
        code = app(prog_name="trm-deploy", standalone_mode=False)
        if code == Interrupted.exit_code:
            raise Interrupted
        sys.exit(code)
    except TrmDeployError as error:
        _fail(str(error), error.exit_code, debug)
    except UsageError as error:
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "trm-deploy"
        _fail(f"{error.format_message()}; type: {command} --help", error.exit_code, debug)
    except (KeyboardInterrupt, typer.Abort):
        _fail(str(Interrupted()), Interrupted.exit_code, debug)
    except BrokenPipeError:
        # The reader of our output has gone, as in `... | head`: no error, and nothing more to say.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except MemoryError:
        _fail("this needs more memory than there is", TrmDeployError.exit_code, debug)
    except OSError as error:
        place = f"{error.filename}: " if error.filename is not None else ""
        _fail(f"{place}{error.strerror or error}", TrmDeployError.exit_code, debug)


@contextlib.contextmanager
def _resumable(file: Path) -> Iterator[None]:
    """Where Ctrl-C leaves this file, the message says how to go on from it."""
    try:
        yield
    except KeyboardInterrupt as pressed:
        raise Interrupted(hint="add --resume to go on" if file.exists() else None) from pressed


def _terminated(number: int, frame: object) -> NoReturn:
    """SIGTERM ends a command as Ctrl-C does: what it was writing is taken away."""
    sys.exit(128 + number)


def _fail(message: str, exit_code: int, debug: bool) -> NoReturn:
    if debug:
        traceback.print_exc()
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(exit_code)
