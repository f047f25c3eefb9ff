"""Damages every kind of file that the product reads, interrupts its commands, and counts what becomes of it.

    python tools/hostile.py [--cuts 50] [--flips 200] [--examples 1000] [--interrupts 8] [--part PART]

Each damaged file is read, and where it can be, run, in a process of its own kind: one that crashes, hangs or takes too
much memory is counted and started anew. Half of the flipped bytes are drawn from the whole file, half from its first
and last 2 KiB, where the structure is. What counts as what:

    refused   one of the project's errors, with its message
    right     it was read as if nothing had been done to it; run, it gives right answers, by rules checked apart
    silent    a text file whose damage reads as another setting: the answers differ, and none is called verified
    failed    a crash, a hang, another exception, a wrong answer called verified, or a change that nobody noticed
"""

from __future__ import annotations

import collections
import contextlib
import json
import os
import re
import resource
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Optional

import numpy as np
import typer

from trm_deploy import checkpoints, puzzles, runtimes
from trm_deploy.artefacts import embeddings, onnx_file, record
from trm_deploy.checkpoints import archive
from trm_deploy.errors import CannotRunHere, TrmDeployError
from trm_deploy.inspection import artefact as inspection
from trm_deploy.runtimes.base import Int32, Runtime
from trm_deploy.runtimes.solving import session as running
from trm_deploy.runtimes.solving.attempts import Schedule, solve_verified
from trm_deploy.spec import Architecture, ModelSpec, Recursion, TaskSpec
from trm_deploy.support.files import write_atomic
from trm_deploy.trt import plan_file as plans

ROOT = Path(__file__).parent.parent
ASSETS = ROOT / "trm_deploy" / "assets"
SCHEMA = 1
TIMEOUT_S = 120.0
HEED_S = 10.0  # a signal may come when all is done but the last line
# Address space of a reader: PyTorch and ONNX Runtime with their threads take 3 GiB of it before they read anything.
MEMORY = 8 << 30
EDGE = 2048
PARTS = ("damaged", "interrupted", "parsers")
OUTCOMES = ("refused", "right", "silent", "failed")


def questions() -> Int32:
    """Two puzzles that come with the package, int32 [2, L]; the shipped model solves both."""
    return puzzles.get("sudoku-9x9").examples()[:2]


def obeys_the_rules(question: Sequence[int], answer: Sequence[int]) -> bool:
    """Written apart from the product's own check, which is under test too. Tokens: 1 blank, 2 to 10 the digits."""
    rows = [[int(token) - 1 for token in answer[row * 9 : row * 9 + 9]] for row in range(9)]
    columns = [list(column) for column in zip(*rows)]
    boxes = [[rows[r + i][c + j] for i in range(3) for j in range(3)] for r in (0, 3, 6) for c in (0, 3, 6)]
    kept = all(asked in (1, found) for asked, found in zip(question, answer))
    return kept and all(sorted(unit) == list(range(1, 10)) for unit in (*rows, *columns, *boxes))


def judged(runtime: Runtime, halt_threshold: float) -> str:
    """What the answers of a model that could be loaded are worth."""
    asked = questions()
    schedule = Schedule(attempts=1, attempt_steps=(runtime.fixed_steps or 16,), halt_threshold=halt_threshold)
    found = solve_verified(runtime, puzzles.get("sudoku-9x9"), asked, schedule)
    if any(a.verified and not obeys_the_rules(q.tolist(), a.answer.tolist()) for q, a in zip(asked, found)):
        return "failed: a wrong answer is called verified"
    return "right" if all(answer.verified for answer in found) else "silent"


def _loaded(path: Path) -> str:
    return judged(runtimes.load(path), 0.0)


def _opened(path: Path) -> str:
    """As `run` opens an engine, its record beside it."""
    artefact = path.with_name("sudoku.onnx")
    engine = running.open_engine(artefact)
    return judged(engine.runtime, engine.halt_threshold(running.RunSettings()))


def _published(path: Path) -> str:
    return judged(runtimes.load(path.parent), 0.0)


def _plan(path: Path) -> str:
    """Without a GPU a plan is inspected, and loaded as far as to where the GPU is missing: behind its digest."""
    inspection.inspect(path)
    try:
        runtimes.load(path)
    except CannotRunHere:
        return "right"
    return "failed: ran without a GPU"


def _plan_alone(path: Path) -> str:
    """A plan without its record: what is read of it here, in front of TensorRT."""
    found = plans.read(path)
    return "right" if found == _EXPECTED["plan"] else "silent"


TABLE = ModelSpec(
    task=TaskSpec(name="arc", sequence_length=900, vocabulary=tuple("abcdefghijkl"), puzzle_identifiers=40_000),
    architecture=Architecture(hidden_size=512, mixer="attention", heads=8, puzzle_embedding_size=512),
    recursion=Recursion(latent=4, deep=3),
)


def _table(path: Path) -> str:
    table = embeddings.open_table(path.with_name("arc.onnx"), TABLE)
    assert table is not None
    return "right" if float(table[::997, 0].sum()) == _EXPECTED["table"] else "failed: another table"


def _dataset(path: Path) -> str:
    from trm_deploy.train.data.layout import ARRAYS, read_split

    split = read_split(path.parent.parent, path.parent.name)
    same = all(np.array_equal(getattr(split, name), getattr(_EXPECTED["dataset"], name)) for name in ARRAYS)
    if not same:
        return "failed: other data"
    return "right" if split.metadata == _EXPECTED["dataset"].metadata else "silent"


# What the intact files hold, in the process that reads damaged ones.
_EXPECTED: dict[str, Any] = {}


def _copy(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True)
    for name in names:
        shutil.copyfile(ASSETS / name, folder / name)


def _make_checkpoint(folder: Path) -> list[Path]:
    _copy(folder, "sudoku.pt")
    return [folder / "sudoku.pt"]


def _make_published(folder: Path) -> list[Path]:
    """The shipped model as the published code would have saved it."""
    import torch

    from trm_deploy.checkpoints.published import published_name

    folder.mkdir(parents=True)
    loaded = checkpoints.load(ASSETS / "sudoku.pt")
    state = {f"_orig_mod.model.inner.{published_name(name)}": value for name, value in loaded.ema.items()}
    torch.save(state, folder / "step_1")
    architecture, recursion = loaded.spec.architecture, loaded.spec.recursion
    arch = {
        "name": "recursive_reasoning.trm@TinyRecursiveReasoningModel_ACTV1",
        "H_cycles": recursion.deep,
        "L_cycles": recursion.latent,
        "L_layers": architecture.layers,
        "hidden_size": architecture.hidden_size,
        "expansion": architecture.expansion,
        "halt_max_steps": loaded.spec.halting.max_steps,
        "mlp_t": True,
        "no_ACT_continue": True,
        "num_heads": 4,
        "pos_encodings": "none",
        "puzzle_emb_len": architecture.prefix_length,
        "puzzle_emb_ndim": architecture.puzzle_embedding_size,
    }
    lines = ["arch:", *(f"  {key}: {json.dumps(value)}" for key, value in arch.items()), "task: sudoku-9x9"]
    (folder / "all_config.yaml").write_text("\n".join(lines) + "\n")
    dataset = {"seq_len": 81, "vocab_size": 11, "num_puzzle_identifiers": 1, "task": "sudoku-9x9"}
    (folder / "dataset.json").write_text(json.dumps(dataset))
    return [folder / "step_1"]


def _make_settings(folder: Path) -> list[Path]:
    _make_published(folder)
    return [folder / "all_config.yaml", folder / "dataset.json"]


def _make_loop(folder: Path) -> list[Path]:
    _copy(folder, "sudoku.onnx")
    return [folder / "sudoku.onnx"]


def _make_step(folder: Path) -> list[Path]:
    import onnx

    from trm_deploy.export.graph.assemble import export_onnx

    folder.mkdir(parents=True)
    path = folder / "step.onnx"
    onnx.save(export_onnx(checkpoints.load(ASSETS / "sudoku.pt").model(), graph="step"), path)
    onnx_file.seal(path)
    return [path]


def _make_recorded(folder: Path) -> list[Path]:
    _copy(folder, "sudoku.onnx", "sudoku.onnx.json")
    return [folder / "sudoku.onnx"]


def _make_record(folder: Path) -> list[Path]:
    _make_recorded(folder)
    return [folder / "sudoku.onnx.json"]


def _make_plan(folder: Path) -> list[Path]:
    from trm_deploy.export.engine.build import BatchProfile, BuildSettings, build_engine

    _copy(folder, "sudoku.onnx", "sudoku.onnx.json")
    settings = BuildSettings(format="rtx", batch=BatchProfile(1, 4, 8), compute_capabilities=("8.6",))
    build_engine(folder / "sudoku.onnx", folder / "sudoku.plan", settings)
    return [folder / "sudoku.plan"]


def _make_plan_alone(folder: Path) -> list[Path]:
    (path,) = _make_plan(folder)
    record.path_of(path).unlink()
    return [path]


def _make_table(folder: Path) -> list[Path]:
    """A table too large for the graph, with the record of its artefact."""
    folder.mkdir(parents=True)
    artefact = folder / "arc.onnx"
    artefact.write_bytes(b"the table alone is looked at")
    rows, width = embeddings.shape_of(TABLE)
    block = np.random.default_rng(0).standard_normal((rows // 8, width)).astype(np.float32)
    digest = embeddings.write(embeddings.path_of(artefact), [block] * 8, TABLE)
    built = record.read(ASSETS / "sudoku.onnx")
    assert built is not None
    described = embeddings.described(TABLE, digest)
    record.write(artefact, record.BuildRecord(**{**vars(built), "puzzle_embeddings": described}))
    return [embeddings.path_of(artefact)]


def _make_dataset(folder: Path) -> list[Path]:
    from trm_deploy.train.data import layout as dataset

    rng = np.random.default_rng(0)
    inputs = rng.integers(1, 11, (200, 81)).astype(np.uint8)
    split = dataset.of_single_examples(inputs, inputs[::-1].copy(), vocabulary=11)
    dataset.write_dataset(folder, {"train": split, "test": split})
    return [folder / "train" / f"all__{name}.npy" for name in dataset.ARRAYS]


def _make_metadata(folder: Path) -> list[Path]:
    _make_dataset(folder)
    return [folder / "train" / "dataset.json"]


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
        make: writes an intact one into a new folder, and tells which files of it are to be damaged, in turn.
        read: what becomes of a file: an outcome.
        text: whether it is text without a digest, whose damage may read as another setting.
    """

    make: Callable[[Path], list[Path]]
    read: Callable[[Path], str]
    text: bool = False


KINDS: dict[str, Kind] = {
    "checkpoint": Kind(_make_checkpoint, _loaded),
    "published checkpoint": Kind(_make_published, _published),
    "its all_config.yaml and dataset.json": Kind(_make_settings, _published, text=True),
    "ONNX, loop form": Kind(_make_loop, _loaded),
    "ONNX, step form": Kind(_make_step, _loaded),
    "ONNX with its build record": Kind(_make_recorded, _opened),
    "build record": Kind(_make_record, _opened, text=True),
    "plan with its build record": Kind(_make_plan, _plan),
    "plan alone, what is read in front of TensorRT": Kind(_make_plan_alone, _plan_alone, text=True),
    "puzzle-embedding table": Kind(_make_table, _table),
    "dataset's arrays": Kind(_make_dataset, _dataset),
    "dataset's dataset.json": Kind(_make_metadata, _dataset, text=True),
}


def _remember(path: Path, name: str) -> None:
    """Keep what an intact file holds."""
    if KINDS[name].read is _plan_alone:
        _EXPECTED["plan"] = plans.read(path)
    elif KINDS[name].read is _table:
        table = embeddings.open_table(path.with_name("arc.onnx"), TABLE)
        assert table is not None
        _EXPECTED["table"] = float(table[::997, 0].sum())
    elif KINDS[name].read is _dataset:
        from trm_deploy.train.data.layout import read_split

        _EXPECTED["dataset"] = read_split(path.parent.parent, path.parent.name)


def work() -> None:
    """The reader: takes requests as lines of JSON, and answers each with an outcome on a line."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no outcome
    for line in sys.stdin:
        request = json.loads(line)
        path = Path(request["path"])
        try:
            if request["intact"]:
                _remember(path, request["kind"])
            outcome = KINDS[request["kind"]].read(path)
        except TrmDeployError as error:
            outcome = f"refused: {type(error).__name__}: {error}"
        except BaseException as error:
            outcome = f"failed: raised {type(error).__name__}: {traceback.format_exc()}"
        print(json.dumps(outcome), file=answers, flush=True)


class Reader:
    """A process that reads files; started anew where it died or hung."""

    def __init__(self) -> None:
        self._kind = ""
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *exception: object) -> None:
        self._end()

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            with contextlib.suppress(BrokenPipeError):
                self._process.communicate()
            self._process = None

    def begin(self, kind: str, intact: Path) -> None:
        """Read the intact file of a kind, which must be right."""
        self._kind = kind
        outcome = self._ask(intact, intact=True)
        if outcome != "right":
            raise RuntimeError(f"the intact {kind} gives {outcome}")

    def read(self, path: Path) -> str:
        """The outcome of a file of that kind."""
        return self._ask(path, intact=False)

    def _started(self) -> subprocess.Popen[str]:
        if self._process is not None:
            return self._process
        command = [sys.executable, __file__, "work"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment
        )
        return self._process

    def _ask(self, path: Path, *, intact: bool) -> str:
        process = self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # it died before: there will be no answer
            process.stdin.write(json.dumps({"kind": self._kind, "path": str(path), "intact": intact}) + "\n")
            process.stdin.flush()
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            if not selector.select(TIMEOUT_S):
                self._end()
                return f"failed: hangs for {TIMEOUT_S:.0f} s"
        line = process.stdout.readline()
        if not line:
            code = process.wait()
            self._end()
            return f"failed: the process died ({code})"
        return str(json.loads(line))


def damages(size: int, cuts: int, flips: int, rng: np.random.Generator) -> Iterator[tuple[str, int, int]]:
    """What is done to a file of so many bytes: ("cut", where, 0), or ("flip", where, which bits)."""
    for _ in range(cuts):
        yield "cut", int(rng.integers(size)), 0
    for number in range(flips):
        place = int(rng.integers(size))
        if number % 2:
            place = int(rng.integers(min(EDGE, size)))
            place = size - 1 - place if number % 4 == 1 else place
        yield "flip", place, int(rng.integers(1, 256))


def damage(path: Path, whole: bytes, what: tuple[str, int, int]) -> None:
    """Put a damaged copy in the file's place."""
    kind, place, bits = what
    changed = bytearray(whole[:place] if kind == "cut" else whole)
    if kind == "flip":
        changed[place] ^= bits
    # A new file, not the old one changed: a reader may have that mapped.
    write_atomic(path, bytes(changed))


def try_kind(name: str, folder: Path, reader: Reader, *, cuts: int, flips: int, seed: int = 0) -> dict[str, Any]:
    """Damage a kind of file, in a new folder, so many times.

    Returns:
        The counts by outcome, and what failed, each with the damage that did it.
    """
    kind = KINDS[name]
    files = kind.make(folder)
    contents = [path.read_bytes() for path in files]
    counts = dict.fromkeys(("tried", *OUTCOMES), 0)
    failed: list[str] = []
    rng = np.random.default_rng((seed, list(KINDS).index(name)))
    plans_ = [list(damages(len(whole), -(-cuts // len(files)), -(-flips // len(files)), rng)) for whole in contents]
    reader.begin(name, files[0])
    for path, whole, todo in zip(files, contents, plans_):
        for what in todo:
            damage(path, whole, what)
            outcome = reader.read(path)
            verdict = outcome.partition(":")[0]
            if verdict == "silent" and not kind.text:
                verdict, outcome = "failed", "failed: answers otherwise, and nobody noticed"
            counts["tried"] += 1
            counts[verdict] += 1
            if verdict == "failed":
                failed.append(f"{path.name} {what}: {outcome}")
        write_atomic(path, whole)
    reader.begin(name, files[0])  # and it still reads what is intact
    return {"kind": name, **counts, "failures": failed}


PUZZLES = str(ASSETS / "puzzles" / "sudoku-9x9.txt")
COMMANDS: dict[str, list[str]] = {
    "export": ["export", str(ASSETS / "sudoku.pt"), "-o", "out/s.onnx"],
    "data build": ["data", "build", "sudoku", "--size", "9x9", "--train", "3000", "--test", "100", "-o", "out"],
    "train": ["train", "recipe.toml", "-o", "out"],
    "parity": ["parity", str(ASSETS / "sudoku.pt"), str(ASSETS / "sudoku.onnx"), "--limit", "8"],
    "run": ["run", PUZZLES, "--png", "out"],
    "run to a file": ["run", *[PUZZLES] * 8, "-o", "answers.jsonl"],
    "tune": ["tune", "engine.onnx", PUZZLES, "--limit", "4", "--write", "--report", "out"],
    "benchmark": [
        "benchmark",
        str(ASSETS / "sudoku.pt"),
        "--limit",
        "2",
        "--only",
        "ort-step-fp32",
        "--png",
        "out.png",
    ],
}
RECIPE = """
data = { box_rows = 2, box_columns = 2, puzzles = 200, min_clues = 4, max_clues = 12 }
model = { preset = "trm-mlp", architecture = { hidden_size = 32, puzzle_embedding_size = 32 } }
optimizer = { warmup_steps = 2 }
training = { steps = 60, batch_size = 8, log_every = 2, checkpoint_every = 3, precision = "fp32" }
evaluation = { puzzles = 16, every = 20 }
"""


def start(command: str, folder: Path) -> subprocess.Popen[str]:
    """A command at work in a new folder, in a process group of its own as a terminal would have it."""
    folder.mkdir(parents=True)
    (folder / "recipe.toml").write_text(RECIPE)
    for name in ("sudoku-step.onnx", "sudoku-step.onnx.json"):
        shutil.copy(ASSETS / name, folder / name.replace("sudoku-step", "engine"))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TRM_DEPLOY_CACHE": str(folder / "cache")}
    environment["PYTHONPATH"] = str(ROOT)
    return subprocess.Popen(
        [sys.executable, "-m", "trm_deploy", *COMMANDS[command]],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env=environment,
        start_new_session=True,
        # Where this tool runs in a shell's background, it was told to ignore Ctrl-C, and would hand that on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def interrupted(command: str, folder: Path, *, after_s: float, number: signal.Signals) -> str:
    """Start a command in a new folder, and end it so many seconds later: see `ended`."""
    process = start(command, folder)
    try:
        process.communicate(timeout=after_s)
    except subprocess.TimeoutExpired:
        return ended(process, folder, number)
    return ended(process, folder, None)


def ended(process: subprocess.Popen[str], folder: Path, number: signal.Signals | None) -> str:
    """Send a signal to a command, Ctrl-C's to its whole group, and tell what is left.

    Returns:
        "ended", "done" where it was through before the signal came, or "failed" and what is wrong.
    """
    sent = time.monotonic()
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
    elif number is not None:
        process.send_signal(number)
    try:
        _, errors = process.communicate(timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return "failed: does not end"
    left = [str(path.relative_to(folder)) for path in folder.rglob("*.partial")]
    if left:
        return f"failed: leaves {left}"
    broken = list(_broken_files(folder))
    if broken:
        return f"failed: leaves {broken}"
    if number == signal.SIGINT and process.returncode == 128 + number and "interrupted" not in errors:
        return f"failed: does not say that it was interrupted: {errors[-500:]}"
    # Before Python has come to the command's first line, it ends itself by the signal: a shell calls that 128 + number.
    if number is not None and process.returncode in (128 + number, -number):
        return "ended"
    if number is not None and process.returncode == 0 and time.monotonic() - sent > HEED_S:
        return f"failed: went on to its end, {time.monotonic() - sent:.0f} s after the signal"
    return "done" if process.returncode == 0 else f"failed: exit code {process.returncode}: {errors[-500:]}"


def _broken_files(folder: Path) -> Iterator[str]:
    """Files under their own names that cannot be read."""
    for path in folder.rglob("*"):
        try:
            if path.suffix == ".onnx":
                onnx_file.read(path)
                record.read_matching(path)
            elif path.suffix == ".pt":
                archive.read_pickle(path)
            elif path.name == "dataset.json":
                from trm_deploy.train.data.layout import read_split

                read_split(path.parent.parent, path.parent.name)
            elif path.suffix in (".json", ".jsonl"):
                for line in [path.read_text()] if path.suffix == ".json" else path.read_text().splitlines():
                    json.loads(line)
        except (TrmDeployError, ValueError) as error:
            yield f"{path.name} ({error})"


def try_command(command: str, folder: Path, *, times: int, rng: np.random.Generator) -> dict[str, Any]:
    """Interrupt a command so many times at random moments of its run, by Ctrl-C and by SIGTERM in turn."""
    begun = time.monotonic()
    whole = start(command, folder / "whole")
    _, errors = whole.communicate(timeout=10 * TIMEOUT_S)
    if whole.returncode:
        raise RuntimeError(f"{command} gives {errors}")
    seconds = time.monotonic() - begun
    counts: collections.Counter[str] = collections.Counter()
    failed = []
    for turn in range(3 * times):
        if counts.total() - counts["done"] == times:
            break
        number = signal.SIGTERM if turn % 3 == 2 else signal.SIGINT
        after = float(rng.uniform(0.1, 1.0)) * seconds
        begun = time.monotonic()
        outcome = interrupted(command, folder / str(turn), after_s=after, number=number)
        counts[outcome.partition(":")[0]] += 1
        if (
            outcome == "done" and time.monotonic() - begun < after
        ):  # on a machine with other work, a run is not as long as the one before
            seconds = min(seconds, time.monotonic() - begun)
        elif outcome.startswith("failed"):
            failed.append(f"{number.name} after {after:.2f} s of {seconds:.2f}: {outcome}")
    ended, done = counts["ended"], counts["done"]
    return {
        "command": command,
        "tried": counts.total(),
        "ended": ended,
        "done": done,
        "failed": len(failed),
        "failures": failed,
    }


def try_parsers(examples: int, folder: Path) -> list[dict[str, Any]]:
    """The property tests with so many examples each."""
    counts = folder / "examples.json"
    environment = {**os.environ, "TRM_DEPLOY_EXAMPLES": str(examples), "TRM_DEPLOY_EXAMPLE_COUNTS": str(counts)}
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "tests/test_parsers.py"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    failures = {name: done.stdout[-3000:] for name in re.findall(r"^FAILED .*::test_(\w+)", done.stdout, re.MULTILINE)}
    if done.returncode and not failures:
        raise RuntimeError(done.stdout[-3000:] + done.stderr[-1000:])
    return [
        {
            "parser": name.replace("_", " "),
            "examples": count,
            "failed": int(name in failures),
            "failures": [failures[name]] if name in failures else [],
        }
        for name, count in json.loads(counts.read_text()).items()
    ]


def tables(document: dict[str, Any]) -> list[str]:
    """The counts as Markdown tables: damaged files, interrupted commands, parsers."""
    columns = (
        ("damaged", {"file": "kind", **{name: name for name in ("tried", *OUTCOMES)}}),
        (
            "interrupted",
            {"command": "command", "tried": "tried", "ended": "ended", "done before": "done", "failed": "failed"},
        ),
        ("parsers", {"property": "parser", "examples": "examples", "failed": "failed"}),
    )
    made = []
    for part, names in columns:
        lines = ["| " + " | ".join(names) + " |", "|" + " --- |" * len(names)]
        for row in document[part]:
            cells = (row[key] if isinstance(row[key], str) else f"{row[key]:,}" for key in names.values())
            lines.append("| " + " | ".join(cells) + " |")
        made.append("\n".join(lines))
    return made


def main(
    cuts: Annotated[int, typer.Option(min=0)] = 50,
    flips: Annotated[int, typer.Option(min=0)] = 200,
    examples: Annotated[int, typer.Option(min=0, help="Examples a property.")] = 1000,
    interrupts: Annotated[int, typer.Option(min=0, help="Interruptions a command.")] = 8,
    only: Annotated[str, typer.Option(help="Of the files, those whose kind holds this.")] = "",
    part: Annotated[
        Optional[list[str]], typer.Option(help=f"Of {', '.join(PARTS)}; the others stay as the output has them.")
    ] = None,
    output: Annotated[Path, typer.Option(help="JSON file to write.")] = Path("build/hostile.json"),
) -> None:
    """Try everything; exit code 1 where anything failed."""
    parts = part or list(PARTS)
    document: dict[str, Any] = {"schema": SCHEMA, **{name: [] for name in PARTS}}
    if part and output.is_file():
        document |= json.loads(output.read_text())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if "damaged" in parts:
            document |= {"cuts": cuts, "flips": flips, "damaged": []}
            for number, kind in enumerate(kind for kind in KINDS if only in kind):
                with Reader() as reader:
                    row = try_kind(kind, folder / str(number), reader, cuts=cuts, flips=flips)
                document["damaged"].append(row)
                print(json.dumps(row, indent=2 if row["failures"] else None), flush=True)
                shutil.rmtree(folder / str(number))
        if "interrupted" in parts:
            rng, document["interrupted"] = np.random.default_rng(1), []
            for command in COMMANDS:
                document["interrupted"].append(try_command(command, folder / command, times=interrupts, rng=rng))
                print(json.dumps(document["interrupted"][-1]), flush=True)
        if "parsers" in parts:
            document["parsers"] = try_parsers(examples, folder)
    write_atomic(output, json.dumps(document, indent=2) + "\n")
    print("\n\n".join(tables(document)))
    print(f"wrote {output}", file=sys.stderr)
    failures = sum(row["failed"] for name in PARTS for row in document[name])
    if failures:
        sys.exit(1)


if __name__ == "__main__":
    if sys.argv[1:] == ["work"]:
        work()
    else:
        typer.run(main)
