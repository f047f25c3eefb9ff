"""PyTorch in bfloat16 and float16, and through torch.compile."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from tests.conftest import exported, random_model, tiny_spec
from trm_deploy import runtimes
from trm_deploy.errors import CannotRunHere, InputError
from trm_deploy.models.recursive import RecursiveReasoner
from trm_deploy.runtimes.backends.pytorch import TorchRuntime
from trm_deploy.runtimes.base import initial_numpy_state
from trm_deploy.signature import Precision

TOKENS = np.random.default_rng(0).integers(6, size=(5, 16)).astype(np.int32)


@pytest.mark.parametrize(("precision", "dtype", "most"), [("bf16", torch.bfloat16, 0.2), ("fp16", torch.float16, 0.02)])
def test_narrow_precisions(precision: Precision, dtype: torch.dtype, most: float) -> None:
    model = random_model(tiny_spec("trm-mlp"))
    wide, narrow = TorchRuntime(model), TorchRuntime(model, precision=precision)
    assert (narrow.precision, narrow.arithmetic) == (precision, precision)
    assert narrow.description == f"PyTorch {precision}"
    y, z = initial_numpy_state(model.spec, 5)
    reset = np.ones(5, bool)
    ours, theirs = wide.step(TOKENS, reset, y, z), narrow.step(TOKENS, reset, y, z)
    assert (theirs.y.dtype, theirs.z.dtype, theirs.logits.dtype) == (dtype, dtype, np.float32)
    assert 1e-4 < np.abs(ours.logits - theirs.logits).max() < most
    # A state goes on as it is, and one from numpy is cast.
    again = narrow.step(TOKENS, ~reset, theirs.y, theirs.z)
    numpy = narrow.step(TOKENS, ~reset, theirs.y.float().numpy(), theirs.z.float().numpy())
    np.testing.assert_array_equal(again.logits, numpy.logits)
    solution = narrow.solve(TOKENS, max_steps=6, halt_threshold=0.0)
    assert solution.answer.shape == (5, 16)
    assert next(model.parameters()).dtype == torch.float32


def test_int8_is_not_pytorchs() -> None:
    with pytest.raises(InputError, match=r"--precision is int8, expected one of fp32, bf16, fp16 for a checkpoint"):
        TorchRuntime(random_model(tiny_spec("trm-mlp")), precision="int8")


def test_compiled() -> None:
    model = random_model(tiny_spec("trm-mlp", architecture={"layers": 1}, recursion={"latent": 1}))
    plain, compiled = (TorchRuntime(model, precision="bf16", compiled=flag) for flag in (False, True))
    assert compiled.description == "PyTorch compiled bf16"
    y, z = initial_numpy_state(model.spec, 5)
    reset = np.ones(5, bool)
    ours, theirs = plain.step(TOKENS, reset, y, z), compiled.step(TOKENS, reset, y, z)
    np.testing.assert_allclose(ours.logits, theirs.logits, atol=0.1)
    # A smaller batch fills up the one that is compiled, and a row does not depend on its neighbours.
    few = compiled.step(TOKENS[:2], reset[:2], y[:2], z[:2])
    assert few.y.shape[0] == 2
    np.testing.assert_array_equal(few.logits, theirs.logits[:2])
    solution = compiled.solve(TOKENS[:3], max_steps=6, halt_threshold=0.0)
    expected = plain.solve(TOKENS[:3], max_steps=6, halt_threshold=0.0)
    assert solution.steps.min() >= 1
    assert (solution.answer == expected.answer).mean() > 0.8


def test_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch._inductor.config as inductor

    monkeypatch.setattr(inductor.cpp, "cxx", ("no-such-compiler",))
    with pytest.raises(CannotRunHere, match=r"needs a C\+\+ compiler, .* or leave out --compile"):
        TorchRuntime(random_model(tiny_spec("trm-mlp")), compiled=True)


def test_an_exported_file_has_its_precision_already(tmp_path: Path, tiny_checkpoint: Path) -> None:
    path = tmp_path / "s.onnx"
    onnx.save(exported("trm-mlp", "loop"), path)
    with pytest.raises(InputError, match=r"--precision applies to checkpoints: .*s\.onnx is an exported file"):
        runtimes.load(path, precision="bf16")
    with pytest.raises(InputError, match=r"--compile applies to checkpoints"):
        runtimes.load(path, compiled=True)
    assert runtimes.load(path).arithmetic == "fp32"
    assert runtimes.load(tiny_checkpoint, precision="bf16").precision == "bf16"


def test_the_callers_model_stays_where_it_is(tiny: RecursiveReasoner) -> None:
    TorchRuntime(tiny, device="meta")  # type: ignore[arg-type]  # stands for a GPU
    assert {part.device.type for part in tiny.parameters()} == {"cpu"}
