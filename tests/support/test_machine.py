from __future__ import annotations

import os
import sys
from pathlib import Path

import cuda.bindings
import numpy as np
import pytest

from trm_deploy.support import machine


@pytest.mark.parametrize(
    ("linux", "jetpack"),
    [("36.4.3", "6.2"), ("36.4.0", "6.1"), ("36.4.4", "6.2.1"), ("36.3.0", "6.0"), ("38.2.0", "7.0"), ("99.1", "")],
)
def test_jetpack_of(linux: str, jetpack: str) -> None:
    assert machine.jetpack_of(linux) == jetpack


def test_jetson(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release = tmp_path / "nv_tegra_release"
    monkeypatch.setattr(machine, "TEGRA_RELEASE", release)
    monkeypatch.setattr(machine, "DEVICE_MODEL", tmp_path / "model")
    assert machine.jetson() is None
    release.write_text("# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64\n")
    (tmp_path / "model").write_text("NVIDIA Jetson Orin Nano Developer Kit\0")
    assert machine.jetson() == machine.Jetson("36.4.3", "6.2", "NVIDIA Jetson Orin Nano Developer Kit")
    release.write_text("something else")
    assert machine.jetson() == machine.Jetson("", "", "NVIDIA Jetson Orin Nano Developer Kit")


def test_gpu_from_nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'NVIDIA H100 80GB HBM3, 9.0'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    assert machine.gpu() == machine.Gpu("NVIDIA H100 80GB HBM3", "9.0")
    assert machine.driver() == "NVIDIA"
    tool.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed'\nexit 9\n")
    assert machine.gpu() is None
    assert machine.driver() is None


def test_a_gpu_that_cuda_cannot_use_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Runtime:
        """CUDA with a driver that is too old."""

        class cudaDeviceAttr:  # noqa: N801
            cudaDevAttrComputeCapabilityMajor = 75  # noqa: N815
            cudaDevAttrComputeCapabilityMinor = 76  # noqa: N815

        def cudaDeviceGetAttribute(self, attribute: int, device: int) -> tuple[int, None]:  # noqa: N802
            return 35, None

    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'NVIDIA H100 80GB HBM3, 9.0'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(cuda.bindings, "runtime", Runtime(), raising=False)
    assert machine.gpu() is None


def test_versions_are_of_what_is_installed() -> None:
    found = machine.versions(("numpy", "no-such-distribution", "pytest"))
    assert found == {"numpy": np.__version__, "pytest": pytest.__version__}
    assert machine.describe(("numpy",))["versions"] == {"numpy": np.__version__}


def test_cores_where_the_system_has_no_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 3}, raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert machine.threads() == machine.cores() == 2
    monkeypatch.delattr(os, "sched_getaffinity")
    assert machine.threads() == machine.cores() == 7
    assert machine.describe(())["cores"] == 7


def groups(folder: Path, monkeypatch: pytest.MonkeyPatch, own: str, files: dict[str, str]) -> None:
    """Control groups: what this process's are called, and what is in the files of the mounted folder."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(16)), raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(machine, "CGROUPS", folder / "own")
    monkeypatch.setattr(machine, "CGROUP_FOLDER", folder / "mounted")
    (folder / "own").write_text(own)
    for name, text in files.items():
        path = folder / "mounted" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.mark.parametrize(
    ("own", "files", "cores"),
    [
        ("0::/\n", {"cpu.max": "200000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "max 100000\n"}, 16),
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "5000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "3200000 100000\n"}, 16),
        # The smallest quota on the way up counts.
        ("0::/a.slice/b.scope\n", {"a.slice/cpu.max": "300000 100000\n", "a.slice/b.scope/cpu.max": "max 100000\n"}, 3),
        # Inside a container, the name may be that outside.
        ("0::/docker/0123\n", {"cpu.max": "400000 100000\n"}, 4),
        ("5:cpu,cpuacct:/\n", {"cpu,cpuacct/cpu.cfs_quota_us": "250000", "cpu,cpuacct/cpu.cfs_period_us": "50000"}, 5),
        ("1:cpu:/docker/0123\n", {"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 2),
        ("1:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 16),
        # Of another controller, and what is no number.
        ("1:cpuset:/\n", {"cpuset/cpu.cfs_quota_us": "200000\n", "cpuset/cpu.cfs_period_us": "100000\n"}, 16),
        ("0::/\n", {"cpu.max": "\n"}, 16),
        ("0::/\n", {"cpu.max": "many 100000 1\n"}, 16),
        ("0::/\n", {"cpu.max": "200000 0\n"}, 16),
        ("nonsense\n", {"cpu.max": "200000 100000\n"}, 16),
        ("", {}, 16),
    ],
)  # fmt: skip
def test_a_quota_of_the_control_group_bounds_the_cores(
    own: str, files: dict[str, str], cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups(tmp_path, monkeypatch, own, files)
    assert machine.cores() == machine.threads() == cores
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert machine.threads() == 7


def test_no_control_groups_no_quota(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    groups(tmp_path, monkeypatch, "", {})
    (tmp_path / "own").unlink()
    assert machine.cpu_quota() is None
