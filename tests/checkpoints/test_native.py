"""Checkpoints survive the file; everything else is refused with a reason, and no pickle runs code."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import random_model, tiny_spec
from trm_deploy import checkpoints
from trm_deploy.checkpoints import Checkpoint
from trm_deploy.errors import CheckpointError
from trm_deploy.support.files import sha256


def test_round_trip(tiny_checkpoint: Path) -> None:
    loaded = checkpoints.load(tiny_checkpoint)
    model = random_model(tiny_spec("trm-mlp"))
    assert loaded.spec == model.spec
    assert loaded.sha256 == sha256(tiny_checkpoint)
    for name, value in loaded.model().state_dict().items():
        torch.testing.assert_close(value, model.state_dict()[name], rtol=0, atol=0)


class Malicious:
    """Its pickle would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("container", ["torch", "plain pickle"])
def test_a_pickle_with_code_is_refused_and_not_run(tmp_path: Path, container: str) -> None:
    path, witness = tmp_path / "evil.pt", tmp_path / "executed"
    if container == "torch":
        torch.save({"format": "trm-deploy", "ema": Malicious(witness)}, path)
    else:
        path.write_bytes(pickle.dumps(Malicious(witness)))
    with pytest.raises(CheckpointError, match="refused: the pickle asks for code" if container == "torch" else "is no"):
        checkpoints.load(path)
    assert not witness.exists()


def document(**changes: Any) -> dict[str, Any]:
    model = random_model(tiny_spec("trm-mlp"))
    base = {
        "format": "trm-deploy",
        "schema": 1,
        "spec": model.spec.to_json(),
        "ema": dict(model.state_dict()),
        "training": {},
    }
    return {**base, **changes}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"a": torch.ones(1)}, "is not a trm-deploy checkpoint"),
        ([1, 2], "is not a trm-deploy checkpoint"),
        (document(schema=9), "has checkpoint schema 9, this trm-deploy reads 1"),
        (document(ema={"x": 1}), "'ema' is missing or no dict of tensors"),
        (document(spec=None), "'spec' or 'training' is missing"),
        (document(spec="{}"), "has schema None"),
    ],
)
def test_foreign_documents_are_refused(tmp_path: Path, content: object, message: str) -> None:
    path = tmp_path / "c.pt"
    torch.save(content, path)
    with pytest.raises(CheckpointError) as raised:
        checkpoints.load(path)
    assert message in str(raised.value)
    assert str(path) in str(raised.value)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(tiny_checkpoint: Path, tmp_path: Path, share: float) -> None:
    data = tiny_checkpoint.read_bytes()
    path = tmp_path / "cut.pt"
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(CheckpointError, match="truncated"):
        checkpoints.load(path)


def test_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no such file"):
        checkpoints.load(tmp_path / "none.pt")
    with pytest.raises(CheckpointError, match="is a folder"):
        checkpoints.load(tmp_path)


def test_weights_that_do_not_fit_their_spec_are_named() -> None:
    loaded = Checkpoint(tiny_spec("trm-mlp"), dict(random_model(tiny_spec("trm-mlp")).state_dict()))
    missing = {k: v for k, v in loaded.ema.items() if k != "tokens.weight"}
    with pytest.raises(CheckpointError, match=r"tokens.weight is missing, its spec expects \[6, 32\]"):
        Checkpoint(loaded.spec, missing).model()
    with pytest.raises(CheckpointError, match=r"extra .* has no place"):
        Checkpoint(loaded.spec, {**loaded.ema, "extra": torch.ones(1)}).model()
    other = {**loaded.ema, "tokens.weight": torch.ones(7, 32)}
    with pytest.raises(CheckpointError, match=r"has the shape \[7, 32\], its spec expects \[6, 32\]"):
        Checkpoint(loaded.spec, other).model()


def test_the_folder_of_a_training_run_means_its_model(tiny_checkpoint: Path, tmp_path: Path) -> None:
    for name in ("ema.pt", "resume.pt", "other.pt"):
        (tmp_path / name).write_bytes(tiny_checkpoint.read_bytes())
    assert checkpoints.locate(tmp_path) == tmp_path / "ema.pt"
    assert checkpoints.load(tmp_path).sha256 == checkpoints.load(tiny_checkpoint).sha256
    (tmp_path / "resume.pt").unlink()
    with pytest.raises(CheckpointError, match=r"several checkpoints: ema\.pt, other\.pt; name one of them"):
        checkpoints.locate(tmp_path)


def test_a_training_run_without_a_model_yet(tiny_checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "resume.pt").write_bytes(tiny_checkpoint.read_bytes())
    with pytest.raises(CheckpointError, match=r"without a model yet.*--resume"):
        checkpoints.locate(tmp_path)


def test_reading_a_checkpoint_leaves_the_compiler_of_torch_alone(tiny_checkpoint: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from trm_deploy import checkpoints\n"
        f"checkpoints.load(Path({str(tiny_checkpoint)!r})).model()\n"
        "assert 'torch._dynamo' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
