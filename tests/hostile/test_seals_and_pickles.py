"""Only what was sealed is read, and nothing that a file says is run."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
import torch

from tests.conftest import ASSETS, load_tool
from trm_deploy import checkpoints
from trm_deploy.artefacts import onnx_file
from trm_deploy.errors import ArtefactError, CheckpointError

hostile = load_tool("hostile")


class TestSeal:
    def test_only_what_was_sealed_is_read(self, tmp_path: Path) -> None:
        whole = (ASSETS / "sudoku.onnx").read_bytes()
        path = tmp_path / "s.onnx"
        path.write_bytes(whole)
        assert onnx_file.check_seal(path)
        sealed = onnx_file.read(path)
        for place in (0, 1000, len(whole) // 2, *range(len(whole) - 90, len(whole))):
            changed = bytearray(whole)
            changed[place] ^= 1
            path.write_bytes(changed)
            with pytest.raises(ArtefactError, match=r"s\.onnx: is altered: the SHA-256 of its bytes is not the one"):
                onnx_file.check_seal(path)
        # An older file has none, and is read all the same.
        path.write_bytes(whole[: -onnx_file.SEAL_BYTES])
        assert not onnx_file.check_seal(path)
        assert onnx_file.read(path) == sealed


class TestPickles:
    """What asks for code is refused in every container, and nothing of it is run."""

    @pytest.mark.parametrize("beside", [False, True])
    @pytest.mark.parametrize("how", ["reduce", "build", "in a state dict"])
    def test_code_is_not_run(self, how: str, beside: bool, tmp_path: Path) -> None:
        witness = tmp_path / "witness"
        path = tmp_path / "step_1"
        torch.save({"L_level.layers.0.mlp.down_proj.weight": torch.ones(2, 2)}, path)
        call = (
            b"cposix\nsystem\n(X" + (text := f"touch {witness}".encode()).__len__().to_bytes(4, "little") + text + b"tR"
        )
        payload = {
            "reduce": b"\x80\x02" + call + b".",
            "build": b"\x80\x02ccollections\nOrderedDict\n)R}X\x01\x00\x00\x00a" + call + b"sb.",
            "in a state dict": b"\x80\x02}X\x01\x00\x00\x00a" + call + b"s.",
        }[how]
        _replace_pickle(path, payload)
        if beside:
            (tmp_path / "all_config.yaml").write_text(f"arch: !!python/object/apply:os.system ['touch {witness}']\n")
        with pytest.raises(CheckpointError, match=r"refused: the pickle asks for code|its pickle is damaged"):
            checkpoints.load(path)
        assert not witness.exists()

    def test_code_in_the_published_settings_is_not_run(self, tmp_path: Path) -> None:
        (path, _) = hostile.kinds.KINDS["its all_config.yaml and dataset.json"].make(tmp_path / "files")
        witness = tmp_path / "witness"
        path.write_text(f"arch: !!python/object/apply:os.system ['touch {witness}']\n")
        with pytest.raises(CheckpointError, match=r"all_config\.yaml: is not plain YAML"):
            checkpoints.load(path.with_name("step_1"))
        assert not witness.exists()


def _replace_pickle(path: Path, payload: bytes) -> None:
    """Put other pickle bytes into what torch.save wrote, with the right CRC."""
    with zipfile.ZipFile(path) as archive:
        entries = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, data in entries.items():
            archive.writestr(name, payload if name.endswith("data.pkl") else data)
