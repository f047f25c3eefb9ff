from __future__ import annotations

import dataclasses
from pathlib import Path

import onnx
import pytest

from tests.conftest import exported
from trm_deploy.artefacts import onnx_file
from trm_deploy.errors import CannotRunHere, InputError
from trm_deploy.export.engine.options import BatchProfile
from trm_deploy.export.engine.targets import target, targets, this_machine
from trm_deploy.support import machine
from trm_deploy.support.machine import Gpu, Jetson


def test_every_target_makes_sense() -> None:
    for name, entry in targets().items():
        BatchProfile.parse(entry.batch)
        assert entry.workspace_mib > 0, name
        assert 18 <= entry.opset <= 25, name
        assert len(entry.tensorrt) == 2, name
        assert bool(entry.jetpack) == name.startswith("jetson-"), name
        assert 7.0 <= float(entry.compute_capability) <= 12.1, name


def test_an_unknown_target_lists_the_known() -> None:
    with pytest.raises(InputError, match="--target is 'jetson', expected one of jetson-orin-nano"):
        target("jetson")


def test_a_graph_that_the_device_cannot_parse(tmp_path: Path) -> None:
    path = tmp_path / "s.onnx"
    onnx.save(exported("trm-mlp", "loop"), path)
    described = onnx_file.read(path)
    orin = target("jetson-agx-orin")
    orin.check(described, path)
    with pytest.raises(CannotRunHere, match=r"will not parse on Jetson AGX Orin, because it has opset 23"):
        orin.check(dataclasses.replace(described, opset=23), path)
    newer = dataclasses.replace(described, operators=described.operators | {"MatMulInteger"})
    with pytest.raises(CannotRunHere, match=r"lacks MatMulInteger"):
        orin.check(newer, path)


@pytest.mark.parametrize(
    ("jetson", "gpu", "title"),
    [
        (Jetson("36.4.3", "6.2", "NVIDIA Jetson Orin Nano Developer Kit"), Gpu("Orin", "8.7"), "Jetson Orin Nano"),
        (None, Gpu("NVIDIA A100-SXM4-80GB", "8.0"), "A100"),
        (None, Gpu("NVIDIA GeForce RTX 4090", "8.9"), "GeForce RTX 4090"),
        (None, Gpu("NVIDIA L4", "8.9"), "L4"),
        (None, Gpu("NVIDIA L40S", "8.9"), None),
        (None, None, None),
    ],
)
def test_this_machine(
    jetson: Jetson | None, gpu: Gpu | None, title: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "jetson", lambda: jetson)
    monkeypatch.setattr(machine, "gpu", lambda: gpu)
    found = this_machine()
    assert (found.title if found else None) == title
