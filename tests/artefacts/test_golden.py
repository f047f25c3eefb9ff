"""Golden vectors: what is recorded, and that no other file passes for it."""

from __future__ import annotations

import dataclasses
import re
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import ASSETS, Published, random_model, tiny_spec
from trm_deploy import spec as specs
from trm_deploy.artefacts import bundle, golden, kind, onnx_file, record
from trm_deploy.artefacts.golden import GoldenVectors
from trm_deploy.errors import ArtefactError
from trm_deploy.evaluation.parity import compare
from trm_deploy.evaluation.parity.bounds import BOUNDS
from trm_deploy.evaluation.parity.pytorch import reference_and_controls
from trm_deploy.evaluation.parity.recording import Recording
from trm_deploy.models.presets import preset
from trm_deploy.runtimes.backends.pytorch import TorchRuntime
from trm_deploy.runtimes.base import StepResult, initial_numpy_state
from trm_deploy.spec import TaskSpec
from trm_deploy.support.files import sha256


def vectors_of(artefact: Path) -> GoldenVectors:
    found = golden.read(artefact)
    assert found is not None
    return found


def read_for(artefact: Path) -> GoldenVectors:
    described = onnx_file.read(artefact)
    return golden.read_for(artefact, described.spec, described.graph, described.precision)


def same(one: GoldenVectors, other: GoldenVectors) -> bool:
    assert one.meta == other.meta
    return all(
        np.array_equal(getattr(one, name), getattr(other, name)) for name in golden.ARRAYS if name != "puzzle_ids"
    )


def test_an_export_records_what_pytorch_computes(published_bundle: Published, tmp_path: Path) -> None:
    artefact = published_bundle("step", tmp_path)
    assert [path.name for path in bundle.present(artefact)] == ["m.onnx", "m.onnx.golden.npz", "m.onnx.json"]
    vectors, torch = read_for(artefact), TorchRuntime(random_model(tiny_spec("trm-mlp")))
    assert vectors.steps.tolist() == [1, 2, 4, 6]
    assert vectors.state_steps.tolist() == [1, 3, 5, 6]
    assert vectors.meta.bounds == dataclasses.asdict(BOUNDS["fp32"])
    solution = torch.solve(vectors.tokens, max_steps=6, halt_threshold=0.0)
    np.testing.assert_array_equal(vectors.answers[0], solution.answer)
    np.testing.assert_array_equal(vectors.answer_steps[0], solution.steps)
    # Step 4 from the recorded state after step 3.
    tokens = vectors.tokens[: vectors.recorded]
    found = torch.step(tokens, np.zeros(len(tokens), bool), vectors.y[1], vectors.z[1])
    np.testing.assert_allclose(np.asarray(found.logits), vectors.logits[2], atol=1e-5)
    np.testing.assert_allclose(found.halt_logit, vectors.halt_logits[2], atol=1e-5)
    assert vectors.control_excess.shape == (3, 6, vectors.recorded)
    assert 0 < vectors.control_excess.max() == np.float32(vectors.meta.sensitivity)


def test_a_file_is_read_as_it_was_written_and_numpy_reads_it_too(published_bundle: Published, tmp_path: Path) -> None:
    artefact = published_bundle("loop", tmp_path)
    vectors, first = vectors_of(artefact), golden.path_of(artefact).read_bytes()
    assert vectors.state_steps.size == vectors.y.size == 0, "a loop takes no state in"
    golden.write(artefact, vectors)
    assert golden.path_of(artefact).read_bytes() == first, "the same vectors give the same bytes"
    assert same(vectors_of(artefact), vectors)
    with np.load(golden.path_of(artefact)) as archive:
        np.testing.assert_array_equal(archive["tokens"], vectors.tokens)


def test_puzzle_ids_and_rows_are_recorded_where_the_model_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = tiny_spec("trm-mlp", identifiers=30)
    model = random_model(spec)
    tokens = np.random.default_rng(0).integers(6, size=(3, 16)).astype(np.int32)
    recording = Recording.of(spec, "loop", 2, 3)
    reference, controls = reference_and_controls(model, 1)
    compare(
        reference,
        controls,
        [("e", reference)],
        tokens,
        solved=None,
        max_steps=2,
        halt_threshold=0.0,
        recording=recording,
    )
    how: dict[str, Any] = {
        "checkpoint": "", "graph": "loop", "precision": "fp32", "max_steps": 2, "halt_threshold": 0.0,
    }  # fmt: skip
    vectors = recording.vectors(spec, **how)
    assert vectors.puzzle_ids is not None
    assert len(set(vectors.puzzle_ids)) > 1
    monkeypatch.setattr(specs, "LARGE_TABLE", 1000)
    rows = recording.vectors(spec, **how, table=model.puzzles.numpy()).puzzle_embedding
    np.testing.assert_array_equal(rows, model.puzzles.numpy()[vectors.puzzle_ids])


def test_a_puzzle_that_amplifies_the_last_bit_is_not_compared_step_by_step() -> None:
    """What a few controls differ by on it says nothing of what a sound engine will on another processor."""
    spec, rng = tiny_spec("trm-mlp"), np.random.default_rng(0)
    reference, controls = reference_and_controls(random_model(spec), 3)
    tokens = rng.integers(6, size=(6, 16)).astype(np.int32)
    plain = controls[1].step

    def unsteady(asked: Any, *state: Any) -> StepResult:
        result = plain(asked, *state)
        logits = np.array(result.logits)
        logits[(asked == tokens[2]).all(1)] += 0.01
        return replace(result, logits=logits)

    recording = Recording.of(spec, "step", 2, 4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(controls[1], "step", unsteady)
        compare(reference, controls, [("e", reference)], tokens, solved=None, max_steps=2, halt_threshold=0.0,
                recording=recording)  # fmt: skip
    vectors = recording.vectors(spec, checkpoint="", graph="step", precision="fp32", max_steps=2, halt_threshold=0.0)
    np.testing.assert_array_equal(vectors.tokens, tokens[[0, 1, 3, 4, 2, 5]])
    assert vectors.recorded == 4
    assert vectors.meta.sensitivity == vectors.control_excess.max() < 1e-4
    # All that is recorded is in the new order.
    found = reference.solve(vectors.tokens, max_steps=2, halt_threshold=0.0)
    np.testing.assert_array_equal(vectors.answers[0], found.answer)
    np.testing.assert_array_equal(vectors.answer_steps[0], found.steps)
    first = reference.step(vectors.tokens[:4], np.ones(4, bool), *initial_numpy_state(spec, 4))
    np.testing.assert_allclose(vectors.logits[0], np.asarray(first.logits), atol=1e-5)
    np.testing.assert_allclose(vectors.z[0], np.asarray(first.z), atol=1e-5)
    assert vectors.control_drift.shape == (3, 2, 4)
    assert vectors.control_drift.max() < 1e-4


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def altered(path: Path) -> None:
    """An archive whose own check sums hold, with another number in it."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    logits = bytearray(parts["logits.npy"])
    logits[-1] ^= 1
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in {**parts, "logits.npy": bytes(logits)}.items():
            archive.writestr(name, data)


def one_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


def of_another_kind(path: Path) -> None:
    np.savez(path, tokens=np.zeros(3))


def pickled(path: Path) -> None:
    np.savez(path, meta=np.array([{"schema": 1}], object))


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut, r"m\.onnx\.golden\.npz: is cut or altered"),
        (one_byte, r"m\.onnx\.golden\.npz: is (cut or )?altered"),
        (altered, r"m\.onnx\.golden\.npz: is altered: the SHA-256 of its arrays"),
        (of_another_kind, r"m\.onnx\.golden\.npz: is not a file of golden vectors"),
        (pickled, r"m\.onnx\.golden\.npz: is cut or altered"),
        (empty, r"m\.onnx\.golden\.npz: is cut or altered"),
    ],
)
def test_a_damaged_file_is_refused_by_name(
    damage: Callable[[Path], None], message: str, published_bundle: Published, tmp_path: Path
) -> None:
    artefact = published_bundle("loop", tmp_path)
    damage(golden.path_of(artefact))
    with pytest.raises(ArtefactError, match=message):
        golden.read(artefact)


def test_a_newer_schema_is_refused(
    published_bundle: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artefact = published_bundle("loop", tmp_path)
    vectors = vectors_of(artefact)
    with monkeypatch.context() as newer:
        newer.setattr(golden, "SCHEMA", 2)
        golden.write(artefact, vectors)
    with pytest.raises(ArtefactError, match=r"golden\.npz: golden vectors of schema 2, expected 1; a newer trm-deploy"):
        golden.read(artefact)


def test_vectors_of_another_model_checkpoint_or_graph_are_refused(published_bundle: Published, tmp_path: Path) -> None:
    artefact = published_bundle("loop", tmp_path)
    vectors = read_for(artefact)

    def refused(changed: GoldenVectors, message: str) -> None:
        golden.write(artefact, changed)
        with pytest.raises(ArtefactError, match=rf"m\.onnx\.golden\.npz: {message}"):
            read_for(artefact)

    def meta(**values: Any) -> GoldenVectors:
        return replace(vectors, meta=replace(vectors.meta, **values))

    refused(meta(model="0" * 64), "is of another model than m.onnx")
    refused(
        meta(checkpoint="0" * 64), "is of another model than m.onnx: of the checkpoint 000000000000, the build record"
    )
    refused(meta(graph="step"), "is of a step graph in fp32, m.onnx is loop in fp32")
    refused(meta(precision="fp16"), "is of a loop graph in fp16, m.onnx is loop in fp32")
    refused(replace(vectors, tokens=vectors.tokens[:, :5]), r"tokens is \[\d+, 5\], expected \[\d+, 16\]")
    refused(replace(vectors, tokens=vectors.tokens + 6), "tokens makes no sense")
    refused(replace(vectors, steps=vectors.steps + 6), "steps makes no sense")
    refused(replace(vectors, answer_steps=vectors.answer_steps * 0), "answer_steps makes no sense")
    refused(replace(vectors, logits=vectors.logits * np.nan), "logits makes no sense")


def test_what_is_missing_names_the_export_that_makes_it(published_bundle: Published, tmp_path: Path) -> None:
    artefact = published_bundle("unrolled", tmp_path, steps=2)
    golden.path_of(artefact).unlink()
    with pytest.raises(ArtefactError) as raised:
        golden.require(artefact)
    assert str(raised.value) == (
        f"{artefact}.golden.npz: there is no such file, expected golden vectors; type where the checkpoint is:"
        " trm-deploy export CHECKPOINT --format onnx --graph unrolled --steps 2 --precision fp32 -o m.onnx"
    )


def test_golden_vectors_are_no_artefact(published_bundle: Published, tmp_path: Path) -> None:
    artefact = published_bundle("loop", tmp_path)
    with pytest.raises(ArtefactError, match=rf"is a NumPy archive, as golden vectors are.* describes: {artefact}"):
        kind.of(golden.path_of(artefact))
    shutil.copy(ASSETS / "sudoku.pt", tmp_path)
    assert kind.of(tmp_path / "sudoku.pt") is kind.Kind.checkpoint


@pytest.mark.parametrize(("name", "recorded"), [("sudoku.onnx", 16), ("sudoku-step.onnx", 4), ("maze-step.onnx", 2)])
def test_the_shipped_files_have_them(name: str, recorded: int) -> None:
    vectors = read_for(ASSETS / name)
    assert golden.path_of(ASSETS / name).stat().st_size < 2_000_000
    assert vectors.meta.checkpoint == sha256(ASSETS / f"{re.sub('(-step)?.onnx$', '', name)}.pt")
    assert (vectors.steps.tolist(), vectors.recorded) == ([1, 2, 4, 8, 16], recorded)
    assert len(vectors.tokens) == 16
    built = record.read_matching(ASSETS / name)
    assert built is not None
    assert built.schedule is not None, "the record is the shipped one"


def test_the_budget_gives_up_puzzles_then_steps() -> None:
    tiny = Recording.of(tiny_spec("trm-mlp"), "step", 16, 12)
    assert (tiny.rows, tiny.steps, tiny.state_steps) == (12, (1, 2, 4, 8, 16), (1, 3, 7, 15, 16))
    maze = preset("trm-att", TaskSpec(name="", sequence_length=900, vocabulary=tuple("abcdef")))
    large = Recording.of(maze, "step", 16, 12)
    assert (large.rows, large.steps, large.state_steps) == (1, (1, 2), (1, 2))
    assert Recording.of(maze, "loop", 16, 32).rows == 16
    assert Recording.of(maze, "unrolled", 3, 5).steps == (3,)
