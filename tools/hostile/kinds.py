"""The kinds of files: how an intact one is made, and what becomes of one that may be damaged."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trm_deploy import checkpoints, puzzles, runtimes
from trm_deploy.artefacts import embeddings, golden, onnx_file, record
from trm_deploy.errors import CannotRunHere
from trm_deploy.inspection import artefact as inspection
from trm_deploy.runtimes.base import Int32, Runtime
from trm_deploy.runtimes.solving import session as running
from trm_deploy.runtimes.solving.attempts import Schedule, solve_verified
from trm_deploy.spec import Architecture, ModelSpec, Recursion, TaskSpec
from trm_deploy.trt import plan_file as plans

ROOT = Path(__file__).parents[2]
ASSETS = ROOT / "trm_deploy" / "assets"


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
    engine = running.open_session(artefact)
    return judged(engine.runtime, engine.halt_threshold(running.SolveOptions()))


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
    """A plan without its record: what is read of it here, before TensorRT sees it."""
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


def _make_safetensors(folder: Path) -> list[Path]:
    folder.mkdir(parents=True)
    checkpoints.save(folder / "sudoku.safetensors", checkpoints.load(ASSETS / "sudoku.pt"), as_safetensors=True)
    return [folder / "sudoku.safetensors"]


def _make_published_safetensors(folder: Path) -> list[Path]:
    """A published state dict as model hubs have it: nothing in it tells a flipped bit of a weight."""
    import torch
    from safetensors.torch import save_file

    (path,) = _make_published(folder)
    save_file(torch.load(path, weights_only=True), folder / "model.safetensors")
    path.unlink()
    return [folder / "model.safetensors"]


def _make_training_file(folder: Path) -> list[Path]:
    """Weights and their average beside an optimizer."""
    import torch

    (path,) = _make_published(folder)
    state = torch.load(path, weights_only=True)
    other = {name: tensor + 1 for name, tensor in state.items()}
    optimizer = {"state": {0: {"exp_avg": torch.ones(8)}}, "param_groups": [{"lr": 0.1}]}
    torch.save({"model_state_dict": other, "ema": {"shadow": state}, "optimizer": optimizer, "epoch": 3}, path)
    return [path]


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
    from trm_deploy.export.engine.build import build_engine
    from trm_deploy.export.engine.options import BatchProfile, EngineOptions

    _copy(folder, "sudoku.onnx", "sudoku.onnx.json")
    settings = EngineOptions(format="rtx", batch=BatchProfile(1, 4, 8), compute_capabilities=("8.6",))
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
    embeddings.write(embeddings.path_of(artefact), [block] * 8, TABLE)
    built = record.read(ASSETS / "sudoku.onnx")
    assert built is not None
    described = embeddings.describe(embeddings.path_of(artefact))
    record.write(artefact, record.BuildRecord(**{**vars(built), "puzzle_embeddings": described}))
    return [embeddings.path_of(artefact)]


def _make_golden(folder: Path) -> list[Path]:
    _copy(folder, "sudoku.onnx", "sudoku.onnx.json", "sudoku.onnx.golden.npz")
    return [folder / "sudoku.onnx.golden.npz"]


def _golden(path: Path) -> str:
    """As `verify` reads golden vectors, for the artefact that they are beside."""
    artefact = path.with_name("sudoku.onnx")
    described = onnx_file.read(artefact)
    vectors = golden.read_for(artefact, described.spec, described.graph, described.precision)
    return "right" if _written(vectors) == _EXPECTED["golden"] else "failed: other vectors"


def _written(vectors: golden.GoldenVectors) -> tuple[Any, ...]:
    """All that golden vectors say."""
    arrays = (getattr(vectors, name) for name in golden.ARRAYS)
    return (vectors.meta, *(None if array is None else (array.shape, array.tobytes()) for array in arrays))


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
        make: writes an intact one into a new folder, and returns the files of it to damage, in turn.
        read: what becomes of a file: an outcome.
        text: whether it has no digest or checksum, so that its damage may read as another setting or weight.
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
    "golden vectors": Kind(_make_golden, _golden),
    "checkpoint in safetensors": Kind(_make_safetensors, _loaded),
    "published checkpoint in safetensors, which has no checksum": Kind(
        _make_published_safetensors, _published, text=True
    ),
    "training file with an average of its weights": Kind(_make_training_file, _published),
}


def remember(path: Path, name: str) -> None:
    """Keep what an intact file holds."""
    if KINDS[name].read is _plan_alone:
        _EXPECTED["plan"] = plans.read(path)
    elif KINDS[name].read is _golden:
        _EXPECTED["golden"] = _written(golden.require(path.with_name("sudoku.onnx")))
    elif KINDS[name].read is _table:
        table = embeddings.open_table(path.with_name("arc.onnx"), TABLE)
        assert table is not None
        _EXPECTED["table"] = float(table[::997, 0].sum())
    elif KINDS[name].read is _dataset:
        from trm_deploy.train.data.layout import read_split

        _EXPECTED["dataset"] = read_split(path.parent.parent, path.parent.name)
