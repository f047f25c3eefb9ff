"""The runtimes agree with each other behind the one protocol, and refuse what is not theirs."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.conftest import GRAPHS, exported
from trm_deploy import runtimes
from trm_deploy.errors import ArtefactError, CannotRunHere, InputError
from trm_deploy.runtimes.base import Runtime, StepRuntime, initial_numpy_state
from trm_deploy.runtimes.host_loop import solve_in_batches

TOKENS = np.random.default_rng(0).integers(1, 6, (5, 16)).astype(np.int32)


@pytest.fixture(scope="module")
def artefacts(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("artefacts")
    paths = {"torch": tiny_checkpoint}
    for graph in GRAPHS:
        paths[graph] = folder / f"{graph}.onnx"
        onnx.save(exported("trm-mlp", graph), paths[graph])
    return paths


@pytest.fixture(params=["torch", *GRAPHS])
def runtime(request: pytest.FixtureRequest, artefacts: dict[str, Path]) -> Runtime:
    return runtimes.load(artefacts[request.param])


@pytest.fixture(scope="module")
def reference(artefacts: dict[str, Path]) -> Runtime:
    return runtimes.load(artefacts["torch"])


@pytest.mark.parametrize("threshold", [-math.inf, 0.0, 0.3, math.inf])
def test_all_runtimes_give_the_same_solution(runtime: Runtime, reference: Runtime, threshold: float) -> None:
    expected = reference.solve(TOKENS, max_steps=6, halt_threshold=threshold)
    found = runtime.solve(TOKENS, max_steps=6, halt_threshold=threshold)
    np.testing.assert_array_equal(found.steps, expected.steps)
    np.testing.assert_array_equal(found.answer, expected.answer)
    np.testing.assert_allclose(found.halt_logit, expected.halt_logit, atol=1e-4)
    np.testing.assert_allclose(found.logits, expected.logits, atol=1e-4)
    assert found.answer.dtype == found.steps.dtype == np.int32
    if threshold == -math.inf:
        assert set(found.steps) == {1}
    if threshold == math.inf:
        assert set(found.steps) == {6}


def test_the_step_runtimes_step_alike(artefacts: dict[str, Path]) -> None:
    ours, theirs = (runtimes.load(artefacts[name]) for name in ("torch", "step"))
    assert isinstance(ours, StepRuntime)
    assert isinstance(theirs, StepRuntime)
    assert not isinstance(runtimes.load(artefacts["loop"]), StepRuntime)
    y, z = initial_numpy_state(ours.spec, len(TOKENS))
    reset = np.array([True] * 5)
    for _ in range(3):
        first, second = ours.step(TOKENS, reset, y, z), theirs.step(TOKENS, reset, y, z)
        np.testing.assert_allclose(np.asarray(first.y), np.asarray(second.y), atol=1e-4)
        np.testing.assert_allclose(np.asarray(first.z), np.asarray(second.z), atol=1e-4)
        np.testing.assert_allclose(first.logits, second.logits, atol=1e-4)
        y, z = second.y, second.z
        reset = np.array([False, False, False, False, True])


def test_batches_of_any_size_give_the_same_answers(runtime: Runtime) -> None:
    whole = runtime.solve(TOKENS, max_steps=6, halt_threshold=0.0)
    parts = solve_in_batches(runtime.solve, TOKENS, batch_size=2, max_steps=6, halt_threshold=0.0)
    np.testing.assert_array_equal(parts.answer, whole.answer)
    np.testing.assert_array_equal(parts.steps, whole.steps)


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (TOKENS.astype(np.int64), r"tokens are int64 \[5, 16\], expected int32 \[B, 16\]"),
        (TOKENS[:, :15], r"tokens are int32 \[5, 15\]"),
        (TOKENS[:0], r"tokens are int32 \[0, 16\]"),
        (TOKENS + 5, "tokens range from 6 to 10, expected 0 to 5"),
        (TOKENS - 5, "tokens range from -4"),
    ],
)
def test_wrong_tokens_are_refused(runtime: Runtime, tokens: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        runtime.solve(tokens, max_steps=6, halt_threshold=0.0)


def test_wrong_limits_and_identifiers_are_refused(reference: Runtime) -> None:
    with pytest.raises(InputError, match="max_steps is 0"):
        reference.solve(TOKENS, max_steps=0, halt_threshold=0.0)
    with pytest.raises(InputError, match=r"puzzle_ids are int64 \[5\], expected int32 \[5\]"):
        reference.solve(TOKENS, np.zeros(5, np.int64), max_steps=1, halt_threshold=0.0)
    with pytest.raises(InputError, match="puzzle_ids range from 1 to 1, expected 0 to 0"):
        reference.solve(TOKENS, np.ones(5, np.int32), max_steps=1, halt_threshold=0.0)


def test_an_unrolled_engine_keeps_its_number_of_steps(artefacts: dict[str, Path]) -> None:
    runtime = runtimes.load(artefacts["unrolled"])
    assert runtime.fixed_steps == 6
    with pytest.raises(InputError, match="max_steps is 3, but this engine is unrolled to 6 steps"):
        runtime.solve(TOKENS, max_steps=3, halt_threshold=0.0)


def test_what_is_not_an_artefact_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.onnx").touch()
    with pytest.raises(ArtefactError, match="is empty"):
        runtimes.load(tmp_path / "empty.onnx")
    with pytest.raises(ArtefactError, match="there is no such file"):
        runtimes.load(tmp_path / "none.onnx")
    with pytest.raises(ArtefactError, match="is a folder"):
        runtimes.load(tmp_path)
    (tmp_path / "rtx.plan").write_bytes(b"vtrt1234")
    with pytest.raises(ArtefactError, match="is a TensorRT plan without a model spec in its name"):
        runtimes.load(tmp_path / "rtx.plan")
    (tmp_path / "other.zip").write_bytes(b"PK\x05\x06" + b"\0" * 18)
    with pytest.raises(ArtefactError, match="a ZIP archive of 0 files"):
        runtimes.load(tmp_path / "other.zip")


def test_cuda_is_refused_where_there_is_none(artefacts: dict[str, Path]) -> None:
    import onnxruntime
    import torch

    if torch.cuda.is_available() or "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this machine has CUDA")
    for name in ("torch", "loop"):
        with pytest.raises(CannotRunHere, match="CUDA"):
            runtimes.load(artefacts[name], device="cuda")
