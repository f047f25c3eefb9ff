"""The Jetson's processor: the package as its wheel has it, run by aarch64 Python and ONNX Runtime in qemu.

Run by `make test-aarch64`; see tools/aarch64 for how the machine is made. Both processors are asked the same, each in
one process; PyTorch and onnx are on this side alone, as on a workstation.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import ASSETS, GRAPHS, ROOT, Published, load_tool
from trm_deploy import puzzles
from trm_deploy.artefacts import bundle, golden, record
from trm_deploy.evaluation.parity.bounds import BOUNDS
from trm_deploy.export.engine.build import build_engine
from trm_deploy.export.engine.options import BatchProfile, EngineOptions

machines = load_tool("aarch64").machine

pytestmark = [pytest.mark.aarch64, pytest.mark.slow]

FOLDER = Path(os.environ.get("TRM_DEPLOY_AARCH64", ROOT / "build" / "aarch64"))
SIDE = str(Path(__file__).with_name("side.py"))
PUZZLE = "53..7....6..195....98....6.8...6...34..8.3..17...2...6.6....28....419..5....8..79"
SHIPPED = ("sudoku.onnx", "sudoku-step.onnx")
PRECISIONS = ("fp32", "fp16", "int8")


@dataclass(frozen=True)
class Sides:
    """What the two processors gave, aarch64 first.

    Attributes:
        commands: by name, what each wrote and its exit code.
        arrays: what each computed.
    """

    commands: dict[str, list[dict[str, Any]]]
    arrays: list[dict[str, np.ndarray[Any, Any]]]


@pytest.fixture(scope="module")
def machine() -> Any:
    try:
        return machines.make(FOLDER.absolute())
    except machines.Unavailable as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def files(machine: Any, published_bundle: Published, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every kind of artefact, by name, each with its side files."""
    folder = tmp_path_factory.mktemp("files")
    made = {}
    for graph in GRAPHS:
        for precision in PRECISIONS:
            place = folder / f"{graph}-{precision}"
            place.mkdir()
            made[place.name] = keep_few(published_bundle(graph, place, precision=precision), 3)
    made["plan"] = folder / "plan" / "m.plan"
    made["plan"].parent.mkdir()
    options = EngineOptions("rtx", BatchProfile(1, 4, 8), compute_capabilities=("8.6",))
    build_engine(made["loop-fp16"], made["plan"], options)
    made["shipped"] = folder / "shipped" / "sudoku.onnx"
    made["shipped"].parent.mkdir()
    for path in bundle.present(ASSETS / "sudoku.onnx"):
        shutil.copy(path, made["shipped"].parent)
    keep_few(made["shipped"], 1)
    return made | damaged(made["loop-fp32"], folder)


def keep_few(artefact: Path, puzzles: int) -> Path:
    """Leave the golden vectors of a few puzzles and two steps: qemu takes up to seconds for each."""
    vectors = golden.require(artefact)
    kept: dict[str, Any] = {"tokens": vectors.tokens[:puzzles], "steps": vectors.steps[:2]}
    kept |= {name: getattr(vectors, name)[:, :puzzles] for name in ("answers", "answer_steps", "halted", "y", "z")}
    kept |= {name: getattr(vectors, name)[:2, :puzzles] for name in ("logits", "halt_logits")}
    kept |= {name: getattr(vectors, name)[..., :puzzles] for name in golden.ARRAYS if name.startswith("control_")}
    golden.write(artefact, replace(vectors, **kept))
    return artefact


def damaged(artefact: Path, folder: Path) -> dict[str, Path]:
    """Copies of an artefact with something done to it or to its side files."""

    def cut(path: Path) -> None:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    def one_byte(path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 0xFF
        path.write_bytes(data)

    def wrong_logits(path: Path) -> None:
        vectors = golden.require(path.with_name("m.onnx"))
        golden.write(path.with_name("m.onnx"), replace(vectors, logits=vectors.logits + 0.01))

    todo: dict[str, tuple[Callable[[Path], None], Callable[[Path], Path]]] = {
        "cut": (cut, lambda path: path),
        "altered": (one_byte, lambda path: path),
        "record cut": (cut, record.path_of),
        "golden vectors cut": (cut, golden.path_of),
        "golden vectors altered": (one_byte, golden.path_of),
        "golden vectors of other numbers": (wrong_logits, golden.path_of),
        "without golden vectors": (Path.unlink, golden.path_of),
    }
    made = {}
    for name, (damage, of) in todo.items():
        place = folder / name
        shutil.copytree(artefact.parent, place)
        damage(of(place / artefact.name))
        made[name] = place / artefact.name
    return made


@pytest.fixture(scope="module")
def sides(machine: Any, files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Sides:
    folder = tmp_path_factory.mktemp("sides")
    sound = {name: str(path) for name, path in files.items() if path.parent.name == name and "-" in name}
    run = ["run", PUZZLE, "--attempts", "1", "--json", "--runtime", "onnxruntime"]
    commands = {
        **{f"run {name}": [*run, "--engine", str(ASSETS / name)] for name in SHIPPED},
        "checkpoint": ["inspect", str(ASSETS / "sudoku.pt")],
        **{f"inspect {name}": ["inspect", str(path), "--json"] for name, path in files.items()},
        **{f"verify {name}": ["verify", str(path), "--json"] for name, path in files.items()},
    }
    work = folder / "work.json"
    tokens = puzzles.get("sudoku-4x4").examples()[:4].tolist()
    work.write_text(
        json.dumps({"artefacts": list(sound.values()), "tokens": tokens, "commands": list(commands.values())})
    )
    done = machine.run(SIDE, str(work), str(folder / "aarch64"))
    assert done.returncode == 0, done.stderr
    # On a Jetson there is no torch either.
    here = [
        sys.executable,
        "-c",
        f"import runpy, sys; sys.modules['torch'] = None; runpy.run_path({SIDE!r}, run_name='__main__')",
    ]
    subprocess.run([*here, str(work), str(folder / "here")], check=True, cwd=ROOT)
    texts = [json.loads((folder / f"{name}.json").read_text()) for name in ("aarch64", "here")]
    assert texts[0]["machine"] == "aarch64"
    arrays = [dict(np.load(folder / f"{name}.npz")) for name in ("aarch64", "here")]
    return Sides(dict(zip(commands, map(list, zip(*(text["commands"] for text in texts))))), arrays)


def test_doctor_runs_and_says_where_it_is(machine: Any) -> None:
    done = machine.run("-m", "trm_deploy", "doctor")
    assert done.returncode == 0, done.stderr
    lines = {line[:18].strip(): line[18:].strip() for line in done.stdout.splitlines()}
    assert lines["machine"] == "linux-aarch64"
    assert "CPUExecutionProvider" in lines["onnxruntime"]
    assert lines["torch"].startswith("missing; type: pip install")


def test_the_shipped_model_solves_a_puzzle_as_on_x86(sides: Sides) -> None:
    for name in SHIPPED:
        ours, theirs = (json.loads(side["out"]) for side in sides.commands[f"run {name}"])
        assert ours["verified"] is True
        assert ours.keys() == theirs.keys()
        for key in ("puzzle", "answer", "steps", "total_steps", "attempts", "halted", "verified"):
            assert ours[key] == theirs[key], key
        assert abs(ours["halt_logit"] - theirs["halt_logit"]) < 1e-3


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("graph", GRAPHS)
def test_what_is_computed_is_what_x86_computes(graph: str, precision: str, sides: Sides) -> None:
    """float32: answers, steps and every logit of a whole run. Narrower, recursion amplifies other roundings from the
    first step on, so that this is compared; the whole run is held to its bounds by `verify`.
    """
    ours, theirs = (
        {name.split()[1]: value for name, value in side.items() if f"{graph}-{precision}/" in name}
        for side in sides.arrays
    )
    assert ours.keys() == theirs.keys() >= {"answer", "steps", "halt_logit", "logits"}
    if precision == "fp32":
        np.testing.assert_array_equal(ours["answer"], theirs["answer"])
        np.testing.assert_array_equal(ours["steps"], theirs["steps"])
    for name in sorted(ours.keys() - {"answer", "steps"}):
        apart = float(np.abs(ours[name].astype(np.float64) - theirs[name]).max())
        print(f"{graph} {precision} {name}: {'the same bits' if not apart else f'within {apart:.2g}'}")
        if precision == "fp32" or name.startswith("first."):
            assert apart <= BOUNDS[precision].logits, name


@pytest.mark.parametrize("name", ["shipped", *(f"{graph}-{precision}" for graph in GRAPHS for precision in PRECISIONS)])
def test_a_sound_engine_is_verified(name: str, sides: Sides) -> None:
    ours, theirs = sides.commands[f"verify {name}"]
    assert (ours["code"], theirs["code"]) == (0, 0), ours["errors"]
    report = json.loads(ours["out"])
    assert report["engines"][0]["failures"] == []
    assert [step["bound"] for step in report["engines"][0]["step_differences"]] == [
        step["bound"] for step in json.loads(theirs["out"])["engines"][0]["step_differences"]
    ]


def test_every_kind_of_file_reads_as_on_x86(files: dict[str, Path], sides: Sides) -> None:
    for name in files:
        ours, theirs = sides.commands[f"inspect {name}"]
        assert ours == theirs, name
    # A plan is read without TensorRT, and does not run: here TensorRT for RTX is installed, and the GPU is missing.
    ours, theirs = sides.commands["verify plan"]
    assert ours["code"] == theirs["code"] == 4
    assert "TensorRT for RTX (tensorrt_rtx) is needed to run" in ours["errors"]
    for side in sides.commands["checkpoint"]:
        assert side["code"] == 4
        assert "torch is needed to read the checkpoint" in side["errors"]


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("cut", 2),
        ("altered", 2),
        ("record cut", 2),
        ("golden vectors cut", 2),
        ("golden vectors altered", 2),
        ("golden vectors of other numbers", 3),
        ("without golden vectors", 2),
    ],
)
def test_what_is_damaged_is_refused_in_the_same_words(name: str, code: int, sides: Sides) -> None:
    ours, theirs = sides.commands[f"verify {name}"]
    assert ours["code"] == theirs["code"] == code
    if code == 2:  # what fails by its numbers differs in the last digits
        assert ours["errors"] == theirs["errors"]
