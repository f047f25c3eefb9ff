"""The Python API. It prints nothing: what is going on is logged under "trm_deploy", and errors are raised.

    Solver          a model, opened: solve, solve_many, trace, solve_tasks (ARC)
    export_model    from a checkpoint to ONNX or a TensorRT engine, with the parity check
    evaluate        which share of a dataset a model gets right
    compare         what `trm-deploy parity` reports, as an object
    verify          replays an artefact's golden vectors, without PyTorch
    inspect         what an artefact is

docs/api.md has examples.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trm_deploy.artefacts import shipped
from trm_deploy.errors import InputError, PuzzleError, TrmDeployError, require
from trm_deploy.puzzles.arc import Arc
from trm_deploy.puzzles.reading import Question
from trm_deploy.runtimes.base import Device
from trm_deploy.runtimes.solving import voting
from trm_deploy.runtimes.solving.answer import Answer
from trm_deploy.runtimes.solving.session import PuzzleLike, SolveOptions, SolvingSession, open_session
from trm_deploy.runtimes.solving.trace import TraceStep, trace
from trm_deploy.runtimes.solving.voting import VotedAnswer
from trm_deploy.signature import Graph, Precision

if TYPE_CHECKING:
    from trm_deploy.checkpoints.base import Checkpoint
    from trm_deploy.evaluation.datasets import Evaluation
    from trm_deploy.evaluation.parity.report import ParityReport
    from trm_deploy.export.check import Checked

__all__ = ["Answer", "Solver", "TraceStep", "VotedAnswer", "compare", "evaluate", "export_model", "inspect", "verify"]

StrPath = str | os.PathLike[str]


class Solver:
    """A model, opened with its task: solves puzzles and verifies the answers.

    Call it from one thread at a time: it keeps the state of what it computes. It can be pickled, as to another process,
    and opens its model anew where it arrives. Close it with `with` or `close`; a generator of its answers that is not
    exhausted ends with it.
    """

    def __init__(
        self,
        path: StrPath | None = None,
        *,
        runtime: str | None = None,
        precision: Precision | None = None,
        attempts: int | None = None,
        attempt_steps: int | Sequence[int] | None = None,
        budget: int | None = None,
        halt_threshold: float | None = None,
        batch: int | None = None,
        in_flight: bool | None = None,
        speculate: bool | None = None,
        seed: int = 0,
        device: Device = "cpu",
        compiled: bool = False,
        allow_host_code: bool = False,
        overrides: Sequence[str] = (),
    ) -> None:
        """Open a model.

        Args:
            path: ONNX file, TensorRT plan or checkpoint, its name on the hub, hf://OWNER/NAME/FILE@REVISION, or the
                name of a shipped model, such as "maze"; the shipped Sudoku model where None.
            runtime: what runs it, such as "onnxruntime"; where None the fastest that is installed (`trm-deploy
                doctor` says which).
            precision: to run a checkpoint in; other files have their own, but OpenVINO computes ONNX files in "fp32" or
                "bf16" as this says.
            attempts: maximum number of attempts a puzzle, under its symmetries; alone it keeps the model's own steps.
            attempt_steps: maximum number of supervision steps of an attempt, or of each in turn; the last repeats.
            budget: maximum number of supervision steps of all attempts at a puzzle. Where all three are None, the
                artefact's own schedule holds, else 8 attempts.
            halt_threshold: an attempt ends when its halting logit exceeds it; the artefact's own where None.
            batch: puzzles at a time; where None 1 in `solve` and `trace`, and in `solve_many` 8 in flight, else 1, or
                the file's own where it has but one size.
            in_flight: whether a puzzle that halts makes room at once; where None, if the model has the step form.
            speculate: whether idle slots compute attempts ahead of their turn; where None, if there are such slots.
            seed: random seed for the symmetries.
            device: "cpu" or "cuda".
            compiled: run a checkpoint through torch.compile.
            allow_host_code: load a version-compatible plan, which contains code for the host's processor.
            overrides: KEY=VALUE, what a published checkpoint does not say of itself.

        Raises:
            InputError: a file that is not ours, or a value that makes no sense.
            CannotRunHere: the package or device that it needs is missing.
        """
        for name, value, least in (
            ("attempts", attempts, 1), ("budget", budget, 1), ("batch", batch, 1), ("seed", seed, 0),
        ):  # fmt: skip
            if value is not None and value < least:
                raise InputError(f"{name} is {value}, expected {least} or more")
        self._arguments: dict[str, Any] = {
            "path": None if path is None else path if shipped.is_name(path) else Path(path).absolute(),
            "runtime": runtime,
            "precision": precision,
            "attempts": attempts,
            "attempt_steps": attempt_steps,
            "budget": budget,
            "speculate": speculate,
            "halt_threshold": halt_threshold,
            "batch": batch,
            "in_flight": in_flight,
            "seed": seed,
            "device": device,
            "compiled": compiled,
            "allow_host_code": allow_host_code,
            "overrides": tuple(overrides),
        }
        steps = attempt_steps if attempt_steps is None or isinstance(attempt_steps, int) else tuple(attempt_steps)
        self._options = SolveOptions(
            attempts=attempts,
            attempt_steps=(steps,) if isinstance(steps, int) else steps,
            halt_threshold=halt_threshold,
            batch_size=batch,
            in_flight=in_flight,
            seed=seed,
            budget=budget,
            speculate=speculate,
        )
        self._opened: SolvingSession | None = open_session(
            None if path is None else Path(path),
            device=device,
            allow_host_code=allow_host_code,
            precision=precision,
            compiled=compiled,
            overrides=overrides,
            runtime=runtime,
        )
        # Refuse now what solving would refuse.
        self._opened.executor(self._opened.batch_size(self._options), self._options)

    def __getstate__(self) -> dict[str, Any]:
        return self._arguments

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def __enter__(self) -> Solver:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the model back; the solver is of no further use."""
        self._opened = None

    @property
    def _session(self) -> SolvingSession:
        if self._opened is None:
            raise TrmDeployError("this Solver is closed", hint="open another one")
        return self._opened

    @property
    def task(self) -> str:
        """What the model solves, such as "sudoku-9x9"."""
        return self._session.puzzle.name

    @property
    def description(self) -> str:
        """Runtime, graph form and precision, in words."""
        return self._session.runtime.description

    def solve(self, puzzle: PuzzleLike) -> Answer:
        """Solve one puzzle.

        Args:
            puzzle: text, one line or a grid of several; or token ids int32 [L].

        Raises:
            PuzzleError: it cannot be read, or its givens break the rules.
        """
        question = self._readable(puzzle)
        (answer,) = self._session.solve([question], self._options, slots=self._slots(1))
        return answer

    def solve_many(self, puzzles: Iterable[PuzzleLike]) -> Iterator[Answer]:
        """Solve any number of puzzles, in flight and in constant memory.

        Puzzles are taken from the iterable as slots become free, and no more than a fixed number is taken ahead of the
        answer that comes next.

        Args:
            puzzles: as for `solve`.

        Yields:
            One answer a puzzle, in their order. A puzzle that cannot be read gives an answer whose `error` says why.
        """
        session = self._session
        self._require_rules()
        questions = (session.question(puzzle, f"puzzle {number}") for number, puzzle in enumerate(puzzles, start=1))
        return session.solve(questions, self._options, slots=session.batch_size(self._options))

    def trace(self, puzzle: PuzzleLike) -> Iterator[TraceStep]:
        """Solve one puzzle, and show each supervision step of each attempt as it is computed.

        The last step is that of the last attempt: it has the answer and the steps that `solve` gives, unless several
        attempts are made and none is verified; then `solve` gives the best of them.

        Args:
            puzzle: as for `solve`.

        Raises:
            PuzzleError: it cannot be read, or its givens break the rules.
            InputError: an unrolled engine, which shows its last step alone.
        """
        question = self._readable(puzzle)
        assert question.tokens is not None
        return trace(self._session, question.tokens, self._options, slots=self._slots(1))

    def solve_tasks(self, files: Iterable[StrPath], solutions: Iterable[StrPath] = ()) -> Iterator[VotedAnswer]:
        """Solve the tasks of ARC files: the answers under the augmentations that were trained vote.

        Args:
            files: tasks as published, JSON.
            solutions: solutions files, for `VotedAnswer.right_within`.

        Yields:
            One answer a test input, in the order of the input.

        Raises:
            InputError: a file cannot be read, a task is not one that the model was trained on, or the model is not for
                ARC.
        """
        puzzle = self._session.puzzle
        if not isinstance(puzzle, Arc):
            raise InputError(f"the model is for {self.task}, which has no ARC tasks", hint="use solve or solve_many")
        tasks = voting.read_files([*map(str, files)], [*map(str, solutions)], side=puzzle.side)
        return voting.run(self._session, tasks, self._options)

    def _slots(self, count: int) -> int:
        """Slots for `count` puzzles."""
        size = self._session.batch_size(self._options)
        return size if self._options.batch_size is not None else min(size, count)

    def _readable(self, puzzle: PuzzleLike) -> Question:
        self._require_rules()
        question = self._session.question(puzzle, "puzzle")
        if question.tokens is None:
            raise PuzzleError(question.error)
        return question

    def _require_rules(self) -> None:
        if not self._session.puzzle.has_rules:
            raise InputError(
                f"the model is for {self.task}, whose answers no rules verify",
                hint="use Solver.solve_tasks(FILES), where the answers vote",
            )


def export_model(
    source: StrPath,
    output: StrPath | None = None,
    *,
    format: str = "onnx",
    graph: Graph | None = None,
    steps: int | None = None,
    precision: Precision | None = None,
    target: str | None = None,
    overrides: Sequence[str] = (),
    force: bool = False,
    **options: Any,
) -> Path:
    """Export a model, with halting inside the graph, and check parity with PyTorch.

    Args:
        source: a checkpoint; for an engine also an ONNX file that this function made.
        output: the file to write; the source's name in the current folder where None.
        format: "onnx", "safetensors" (the checkpoint itself, with its settings inside), "trt", "rtx" or
            "triton" (a model repository).
        graph: "loop" (the default), "step" or "unrolled".
        steps: supervision steps of the unrolled form.
        precision: of weights and activations; where None fp32 for ONNX and fp16 for engines.
        target: the device that it is for, such as "jetson-orin-nano".
        overrides: KEY=VALUE, what a published checkpoint does not say of itself.
        force: write over an existing file of another kind.
        options: further options, see `trm_deploy.export.options.ExportOptions`.

    Returns:
        The file that was written.

    Raises:
        InputError: an option that makes no sense, or a source that cannot be read.
        ParityFailure: what was made does not give PyTorch's answers; no file is left.
        CannotRunHere: a package that it needs is missing.
    """
    from trm_deploy.export.options import options_of
    from trm_deploy.export.pipeline import run_export

    given = options_of(
        source=shipped.local(Path(source), "checkpoint"),
        output=None if output is None else Path(output),
        format=format,
        graph=graph,
        steps=steps,
        precision=precision,
        target=target,
        overrides=tuple(overrides),
        force=force,
        **options,
    )
    return run_export(given, check=_check)


def _check(checkpoint: Checkpoint, artefact: Path, name: str) -> Checked:
    """The parity check of an export: `trm_deploy.export.check.Check`, bound to the comparison with PyTorch."""
    from trm_deploy.evaluation.parity.export_check import check_export

    return check_export(checkpoint, artefact, name)


def compare(
    checkpoint: StrPath,
    engines: Iterable[StrPath],
    *,
    puzzles: StrPath | None = None,
    limit: int | None = None,
    max_steps: int | None = None,
    halt_threshold: float | None = None,
    attempts: int | None = None,
    controls: int | None = None,
    overrides: Sequence[str] = (),
    device: Device = "cpu",
    **options: Any,
) -> ParityReport:
    """Compare engines with PyTorch: teacher-forced and free-running, as `trm-deploy parity` does.

    Args:
        checkpoint: the reference, run in float32 on the CPU.
        engines: artefacts of the same model.
        puzzles: file with puzzles; those that come with the package where None.
        limit: use only the first N puzzles.
        max_steps: maximum number of supervision steps; the checkpoint's own where None.
        halt_threshold: threshold in force for all.
        attempts: maximum number of attempts a puzzle, for the verified share; 1 where None.
        controls: number of ulp-perturbed controls, each of which answers every puzzle; None: 3, which share the puzzles
            of the free run.
        overrides: KEY=VALUE, what a published checkpoint does not say of itself.
        device: where the engines run.
        options: `allow_host_code`, see `trm_deploy.runtimes.load`, and the other fields of
            `trm_deploy.evaluation.parity.files.ParitySettings`.

    Returns:
        The report: `passed`, `engines`, `to_plain()`, `raise_if_failed()`.

    Raises:
        InputError: a file cannot be read, or an engine is of another model.
        CannotRunHere: a package or device that it needs is missing.
    """
    require("torch", extra="export", purpose="to compare with PyTorch")
    from trm_deploy.evaluation.parity.files import compare_files

    given: dict[str, Any] = {
        "puzzles": None if puzzles is None else str(puzzles),
        "limit": limit,
        "max_steps": max_steps,
        "halt_threshold": halt_threshold,
        "attempts": attempts,
        "controls": controls,
        **options,
    }
    return compare_files(
        Path(checkpoint),
        [Path(engine) for engine in engines],
        overrides=overrides,
        device=device,
        **{name: value for name, value in given.items() if value is not None},
    )


def evaluate(
    path: StrPath | None,
    dataset: StrPath,
    *,
    split: str = "test",
    limit: int | None = None,
    by: str | None = None,
    solutions: Iterable[StrPath] = (),
    input_format: str | None = None,
    column: str | None = None,
    **options: Any,
) -> Evaluation:
    """Measure which share of a dataset a model gets right, as `trm-deploy evaluate` does.

    Args:
        path: ONNX file, TensorRT plan or checkpoint; the shipped Sudoku model where None.
        dataset: a folder in the published layout, a CSV or JSON Lines file with puzzles and answers, or ARC tasks.
        split: of a folder in the published layout, "train" or "test".
        limit: use only the first N puzzles; of ARC the first N tasks.
        by: column by whose values the shares are also counted; where None the one that rates the puzzles, if any.
        solutions: ARC solutions files; where there are none, the one beside the challenges.
        input_format: of puzzle text; what it looks like where None.
        column: that holds the puzzles; found by its name or by what it holds where None.
        options: the keywords of `Solver`; without `attempts`, `attempt_steps` and `budget` each puzzle is tried once,
            with the model's own steps.

    Returns:
        The report: `exact`, `cells`, `verified`, `mean_steps`, `groups`, `to_plain()`, `table()`.

    Raises:
        InputError: the dataset cannot be read, is of another task, or has no answer to compare with.
        CannotRunHere: a package or device that the model needs is missing.
    """
    from trm_deploy.evaluation.datasets import EvaluateSettings
    from trm_deploy.evaluation.datasets import evaluate as measured

    settings = EvaluateSettings(
        split=split,
        limit=limit,
        by=by,
        solutions=tuple(str(name) for name in solutions),
        input_format=input_format,
        column=column,
    )
    with Solver(path, **options) as solver:
        return measured(solver._session, str(dataset), solver._options, settings)


def verify(
    path: StrPath, *, runtime: str | None = None, device: Device = "cpu", allow_host_code: bool = False
) -> ParityReport:
    """Replay the golden vectors beside an exported file, as `trm-deploy verify` does: no PyTorch, no checkpoint.

    Args:
        path: ONNX file or TensorRT plan.
        runtime: what runs it, such as "onnxruntime"; the default for that kind of file where None.
        device: where to run it; a plan always runs on the GPU.
        allow_host_code: load a version-compatible plan, which contains code for the host's processor.

    Returns:
        The report: `passed`, `engines` (one), `to_plain()`, `raise_if_failed()`.

    Raises:
        InputError: a checkpoint, or golden vectors that are missing, damaged or of another model.
        CannotRunHere: a package or device that the file needs is missing.
    """
    from trm_deploy.evaluation.verify import verify as replayed

    return replayed(Path(path), runtime, device=device, allow_host_code=allow_host_code)


def inspect(path: StrPath, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """What a checkpoint, an ONNX file or a plan is: the document that `trm-deploy inspect --json` prints.

    Args:
        path: the file, or the folder of a published checkpoint.
        overrides: KEY=VALUE, what a published checkpoint does not say of itself.

    Raises:
        ArtefactError, CheckpointError: it cannot be read, or is not ours.
    """
    from trm_deploy.inspection import artefact

    return artefact.inspect(Path(path), overrides)
