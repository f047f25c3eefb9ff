"""Puzzle tables too large for the graph: beside every artefact, read by row, never copied."""

from __future__ import annotations

import copy
import errno
import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import cuda.bindings
import numpy as np
import onnx
import pytest
import torch

from tests import stand_ins
from tests.conftest import random_model
from trm_deploy import checkpoints
from trm_deploy import spec as specs
from trm_deploy.artefacts import embeddings, golden, identifiers, record
from trm_deploy.checkpoints import Checkpoint
from trm_deploy.errors import ArtefactError, InputError, TrmDeployError
from trm_deploy.evaluation.parity.export_check import check_export
from trm_deploy.evaluation.parity.files import compare_files
from trm_deploy.evaluation.verify import verify
from trm_deploy.export import onnx_artefact as build
from trm_deploy.export.engine.build import build_engine
from trm_deploy.export.engine.options import BatchProfile, EngineOptions
from trm_deploy.export.graph.assemble import export_onnx
from trm_deploy.export.onnx_artefact import GraphOptions, export_checkpoint
from trm_deploy.inspection.artefact import inspect
from trm_deploy.models.perturb import perturb_by_one_ulp
from trm_deploy.models.precision import cast
from trm_deploy.models.recursive import RecursiveReasoner
from trm_deploy.models.solve import solve
from trm_deploy.runtimes import load
from trm_deploy.runtimes.base import Int32, Solution
from trm_deploy.spec import Architecture, Halting, ModelSpec, Recursion, TaskSpec
from trm_deploy.support import machine
from trm_deploy.support.files import sha256
from trm_deploy.support.machine import Gpu

LENGTH, VOCABULARY = 9, 5
RTX = EngineOptions(format="rtx", batch=BatchProfile(1, 1, 1), compute_capabilities=("8.6",))


def spec_of(identifiers: int, size: int) -> ModelSpec:
    return ModelSpec(
        task=TaskSpec(name="", sequence_length=LENGTH, vocabulary=tuple("abcde"), puzzle_identifiers=identifiers),
        architecture=Architecture(hidden_size=32, layers=1, prefix_length=-(-size // 32), puzzle_embedding_size=size),
        recursion=Recursion(latent=1, deep=1),
        halting=Halting(max_steps=3),
    )


def saved(path: Path, spec: ModelSpec) -> Path:
    """A checkpoint of a random model whose table has a different row for each puzzle."""
    model = random_model(spec)
    checkpoints.save(path, Checkpoint(spec, model.state_dict(), {"steps": 0, "recipe": "", "seed": 0}))
    return path


def questions(count: int) -> Int32:
    return np.random.default_rng(1).integers(VOCABULARY, size=(count, LENGTH)).astype(np.int32)


def solved_by_torch(path: Path, ids: Int32) -> Solution:
    out = solve(
        checkpoints.load(path).model(),
        torch.from_numpy(questions(len(ids))),
        torch.from_numpy(ids),
        max_steps=3,
        halt_threshold=0.0,
    )
    return Solution(*(part.numpy() for part in (out.answer, out.steps, out.halt_logit, out.logits)))


@pytest.fixture(scope="module")
def traced() -> dict[Any, onnx.ModelProto]:
    return {}


@pytest.fixture(autouse=True)
def kept(traced: dict[Any, onnx.ModelProto], monkeypatch: pytest.MonkeyPatch) -> None:
    """Trace each graph once: it takes seconds."""

    def export(model: RecursiveReasoner, **how: Any) -> onnx.ModelProto:
        key = (model.spec, model.spec.puzzle_table_outside, *how.values())
        if key not in traced:
            traced[key] = export_onnx(model, **how)
        return traced[key]

    monkeypatch.setattr(build, "export_onnx", export)


@pytest.fixture
def outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Call tables large that are not."""
    monkeypatch.setattr(specs, "LARGE_TABLE", 1000)


def test_64_mib_is_large() -> None:
    assert not spec_of((1 << 15) - 1, 512).puzzle_table_outside
    assert spec_of(1 << 15, 512).puzzle_table_outside
    assert not spec_of(1 << 20, 0).puzzle_table_outside


@pytest.mark.slow
def test_a_table_of_64_mib_from_checkpoint_to_answers(tmp_path: Path) -> None:
    spec = spec_of((1 << 15) + 1, 512)
    path, artefact = saved(tmp_path / "arc.pt", spec), tmp_path / "arc.onnx"
    names = ["<blank>", *(f"task{number}" for number in range(1 << 15))]
    (tmp_path / "identifiers.json").write_text(json.dumps(names))
    settings = GraphOptions(graph="step", unroll_inner=True)  # the form that is traced fastest
    export_checkpoint(path, artefact, settings, check=check_export)

    assert artefact.stat().st_size < 4 << 20
    table = np.load(embeddings.path_of(artefact), mmap_mode="r")
    np.testing.assert_array_equal(table, checkpoints.load(path).ema["puzzles"].numpy())
    built = record.read(artefact)
    assert built is not None
    digest = sha256(embeddings.path_of(artefact))
    assert built.puzzle_embeddings == {"shape": [(1 << 15) + 1, 512], "dtype": "float32", "sha256": digest}
    assert identifiers.read(artefact) == tuple(names)

    ids = np.array([0, 1 << 15, 7, 7, 20_000], np.int32)
    expected = solved_by_torch(path, ids)
    actual = load(artefact).solve(questions(5), ids, max_steps=3, halt_threshold=0.0)
    np.testing.assert_array_equal(actual.answer, expected.answer)
    np.testing.assert_allclose(actual.logits, expected.logits, atol=1e-4)
    same_puzzle = load(artefact).solve(questions(5), None, max_steps=3, halt_threshold=0.0)
    assert np.abs(same_puzzle.logits - actual.logits)[1:].max((1, 2)).min() > 1e-3, "the row makes no difference"
    assert compare_files(path, [artefact]).passed
    assert "SHA-256 matches" in inspect(artefact)["puzzle_embeddings"]


@pytest.mark.usefixtures("outside")
@pytest.mark.parametrize(("graph", "precision"), [("step", "fp16"), ("loop", "fp32")])
def test_graphs_take_the_row(graph: Any, precision: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through ONNX Runtime, and through an engine (of a stand-in for TensorRT) that splits the batch."""
    path, source, output = saved(tmp_path / "a.pt", spec_of(30, 40)), tmp_path / "a.onnx", tmp_path / "a.plan"
    settings = GraphOptions(graph=graph, precision=precision, unroll_inner=graph == "step")
    export_checkpoint(path, source, settings, check=check_export)
    api = stand_ins.Cuda()
    monkeypatch.setitem(sys.modules, "tensorrt", stand_ins.tensorrt("10.3", api))
    monkeypatch.setattr(cuda.bindings, "runtime", api, raising=False)
    monkeypatch.setattr(machine, "gpu", lambda: Gpu("Stand-in", "8.7"))
    identifiers.write(source, [f"task{number}" for number in range(30)])
    built = build_engine(source, output, EngineOptions(format="trt", batch=BatchProfile.parse("2:2:4")))
    assert built.puzzle_embeddings["shape"] == [30, 40]
    assert built.puzzle_embeddings["sha256"] == sha256(embeddings.path_of(output))
    assert embeddings.path_of(output).samefile(embeddings.path_of(source)), "one table on the disk, not two"
    assert identifiers.read(output) == identifiers.read(source)
    for artefact in (source, output):  # each with the golden vectors, and the rows in them
        verify(artefact).raise_if_failed()
    assert golden.path_of(output).read_bytes() == golden.path_of(source).read_bytes()

    ids = np.array([3, 0, 29, 11, 3], np.int32)
    expected = solved_by_torch(path, ids)
    for artefact in (source, output):
        actual = load(artefact).solve(questions(5), ids, max_steps=3, halt_threshold=0.0)
        np.testing.assert_array_equal(actual.answer, expected.answer)
        np.testing.assert_array_equal(actual.steps, expected.steps)
        np.testing.assert_allclose(actual.logits, expected.logits, atol=1e-4 if precision == "fp32" else 0.05)


@pytest.mark.usefixtures("outside")
def test_the_unrolled_form_takes_the_row(tmp_path: Path) -> None:
    path, artefact = saved(tmp_path / "a.pt", spec_of(30, 40)), tmp_path / "a.onnx"
    settings = GraphOptions(graph="unrolled", steps=3, precision="fp16")
    export_checkpoint(path, artefact, settings, check=check_export)
    ids = np.array([3, 0, 29], np.int32)
    actual = load(artefact).solve(questions(3), ids, max_steps=3, halt_threshold=0.0)
    np.testing.assert_allclose(actual.logits, solved_by_torch(path, ids).logits, atol=0.05)


@pytest.mark.usefixtures("outside")
def test_a_missing_or_foreign_table_is_one_clear_error(tmp_path: Path) -> None:
    path, artefact = saved(tmp_path / "a.pt", spec_of(30, 40)), tmp_path / "a.onnx"
    export_checkpoint(path, artefact, GraphOptions(), check=check_export)
    table = embeddings.path_of(artefact)
    whole = table.read_bytes()

    def refused(message: str) -> None:
        for open_it in (load, lambda path: build_engine(path, tmp_path / "a.plan", RTX)):
            with pytest.raises(ArtefactError, match=message) as caught:
                open_it(artefact)
            assert "a.onnx.embeddings.npy: " in str(caught.value)
            assert "float32 [30, 40]" in str(caught.value)

    table.write_bytes(whole[:-8])
    refused("is not a NumPy file, or is truncated")
    table.write_bytes(b"rubbish")
    refused("is not a NumPy file")
    np.save(table, np.zeros((31, 40), np.float32))
    refused(r"is float32 \[31, 40\], expected the puzzle embeddings")
    np.save(table, np.zeros((30, 40), np.float64))
    refused(r"is float64 \[30, 40\]")
    # Of the right shape, but another model's: the record tells; without it parity, which asks of several puzzles.
    np.save(table, np.roll(np.load(io.BytesIO(whole)), 1, axis=0))
    refused("is altered, or of another export")
    record.path_of(artefact).unlink()
    assert not compare_files(path, [artefact]).passed
    assert "unknown" in inspect(artefact)["puzzle_embeddings"]
    table.unlink()
    refused("there is no such file")


@pytest.mark.usefixtures("outside")
def test_a_full_disk_leaves_the_old_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, artefact = saved(tmp_path / "a.pt", spec_of(30, 40)), tmp_path / "a.onnx"
    export_checkpoint(path, artefact, GraphOptions(), check=check_export)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}

    def full(path: Path, blocks: Any, spec: ModelSpec) -> str:
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(embeddings, "write", full)
    with pytest.raises(TrmDeployError, match=r"a.onnx.embeddings.npy: cannot be written \(No space left on device\)"):
        export_checkpoint(path, artefact, GraphOptions(), check=check_export)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


@pytest.mark.usefixtures("outside")
def test_nothing_copies_the_table(tmp_path: Path) -> None:
    model = checkpoints.load(saved(tmp_path / "a.pt", spec_of(30, 40))).model()
    assert model.outside_table is not None
    assert "puzzles" not in model.state_dict()
    for copied in (copy.deepcopy(model), perturb_by_one_ulp(model, 0), cast(model, "fp16")):
        assert copied.outside_table is model.outside_table
    assert model.outside_table.table.dtype == torch.float32


def test_a_table_is_written_block_by_block(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(30, 40)).astype(np.float32)
    digest = embeddings.write(
        tmp_path / "t.npy", (values[start : start + 7] for start in range(0, 30, 7)), spec_of(30, 40)
    )
    np.testing.assert_array_equal(np.load(tmp_path / "t.npy"), values)
    assert digest == sha256(tmp_path / "t.npy")
    plain = io.BytesIO()
    np.save(plain, values)
    assert (tmp_path / "t.npy").read_bytes() == plain.getvalue()


@pytest.mark.usefixtures("outside")
def test_an_identifier_map_must_fit_the_model(tmp_path: Path) -> None:
    path, artefact = saved(tmp_path / "a.pt", spec_of(30, 40)), tmp_path / "a.onnx"
    named = tmp_path / "names.json"
    named.write_text(json.dumps(["<blank>", "a"]))

    def export(**more: Any) -> None:
        export_checkpoint(path, artefact, GraphOptions(), check=check_export, **more)

    with pytest.raises(InputError, match=r"names.json: names 2 puzzles, the model has 30 puzzle identifiers"):
        export(identifiers_file=named)
    assert not artefact.exists()
    names = ["<blank>", *map(str, range(1, 30))]
    named.write_text(json.dumps(names))
    export(identifiers_file=named)
    assert identifiers.read(artefact) == tuple(names)
    # One that is gone must not leave its names beside the next export.
    export()
    assert identifiers.read(artefact) is None
