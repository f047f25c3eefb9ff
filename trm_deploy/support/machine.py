"""What this machine is, as engines see it: platform, GPU, JetPack. Nothing here needs torch or TensorRT."""

from __future__ import annotations

import contextlib
import importlib.metadata
import math
import os
import platform
import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

# Where a model can be told to run.
Device = Literal["cpu", "cuda"]
DEVICES: tuple[Device, ...] = get_args(Device)

TEGRA_RELEASE = Path("/etc/nv_tegra_release")
CPU_INFO = Path("/proc/cpuinfo")
DEVICE_MODEL = Path("/proc/device-tree/model")
CGROUPS, CGROUP_FOLDER = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")

# Jetson Linux release -> JetPack release (NVIDIA's JetPack archive). Longest prefix wins.
JETPACKS = {
    "35": "5",
    "36.2": "6.0",
    "36.3": "6.0",
    "36.4": "6.1",
    "36.4.3": "6.2",
    "36.4.4": "6.2.1",
    "36.4.7": "6.2.1",
    "38": "7",
    "38.2": "7.0",
    "38.4": "7.1",
}


@dataclass(frozen=True)
class Gpu:
    """The first CUDA device.

    Attributes:
        name: as the driver gives it; empty where only the capability is known.
        compute_capability: "8.7".
    """

    name: str
    compute_capability: str


def platform_tag() -> str:
    """Operating system and processor, such as "linux-aarch64"."""
    return f"{platform.system().lower()}-{platform.machine()}"


def cores() -> int:
    """The number of cores that this process may use: those that it may run on, but no more than its CPU quota pays for.

    Of all cores on systems that do not say (macOS, Windows).
    """
    affinity = getattr(os, "sched_getaffinity", None)
    allowed = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    quota = cpu_quota()
    return allowed if quota is None else max(1, min(allowed, math.ceil(quota)))


def cpu_quota() -> float | None:
    """CPUs that the control groups of this process grant it, such as 2.0 in a container; None where there is no limit.

    A quota holds for all groups below it, so the smallest on the way up counts. Version 2 has `cpu.max` ("200000
    100000": microseconds in each period), version 1 a file for each of the two numbers.
    """
    quotas = [_quota_2(folder) for folder in _groups("")]
    quotas += [_quota_1(folder) for folder in _groups("cpu")]
    return min((quota for quota in quotas if quota is not None), default=None)


def _groups(controller: str) -> list[Path]:
    """The folders of this process's control group and of those above it; of version 2 where the controller is ""."""
    try:
        lines = CGROUPS.read_text("utf-8", errors="replace").splitlines()
    except OSError:  # not on Linux
        return []
    folders = []
    for line in lines:
        _, controllers, group = (*line.split(":", 2), "none", "")[:3]
        if controller not in controllers.split(","):
            continue
        # Inside a container the group's name may be that outside, where nothing is: what is mounted is its own then.
        names = [name for name in group.split("/") if name not in ("", "..")]
        for mount in (CGROUP_FOLDER, *(CGROUP_FOLDER / name for name in (controllers, controller, "unified"))):
            folders += [mount.joinpath(*names[:depth]) for depth in range(len(names), -1, -1)]
    return list(dict.fromkeys(folders))


def _quota_2(folder: Path) -> float | None:
    return _ratio(_words(folder / "cpu.max"))


def _quota_1(folder: Path) -> float | None:
    return _ratio(_words(folder / "cpu.cfs_quota_us") + _words(folder / "cpu.cfs_period_us"))


def _words(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8", errors="replace").split()
    except OSError:
        return []


def _ratio(words: list[str]) -> float | None:
    """Quota by period; None where it is not two positive numbers: "max" or -1 is no limit."""
    if len(words) != 2 or not all(word.isascii() and word.isdigit() and int(word) for word in words):
        return None
    return int(words[0]) / int(words[1])


def threads() -> int:
    """Threads to compute with: what OMP_NUM_THREADS says, as PyTorch reads it, else one for each core that is ours."""
    said = os.environ.get("OMP_NUM_THREADS", "")
    return int(said) if said.isdigit() and int(said) else cores()


def processor() -> str:
    """The processor's name, as Linux gives it."""
    try:
        lines = CPU_INFO.read_text("utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Model"))]
    return names[0] if names else platform.processor() or "unnamed"


def versions(names: Iterable[str]) -> dict[str, str]:
    """Distribution -> version, of those of these names that are installed."""
    found = {}
    for name in names:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def describe(packages: Iterable[str]) -> dict[str, Any]:
    """What a measurement ran on, the versions of these distributions included."""
    found = gpu()
    return {
        "platform": platform_tag(),
        "processor": processor(),
        "cores": cores(),
        "gpu": found.name if found else "none",
        "versions": versions(packages),
    }


def has_int8_dot_products() -> bool:
    """Whether this processor adds products of int8 in 32 bits (VNNI on x86; on others, no such doubt is known)."""
    if platform.machine() not in ("x86_64", "AMD64") or not CPU_INFO.is_file():
        return True
    return bool(re.search(r"\bavx(512)?_vnni\b", CPU_INFO.read_text("utf-8", "replace")))


def gpu() -> Gpu | None:
    """The first CUDA device; None where there is none that CUDA can use.

    Asked of the CUDA runtime, or of nvidia-smi where cuda-python is missing: a GPU that is hidden, or whose driver is
    too old, is none.
    """
    try:
        from cuda.bindings import runtime
    except ImportError:
        return _gpu_of_smi()
    return _gpu_of_cuda(runtime)


def _gpu_of_cuda(cudart: Any) -> Gpu | None:
    attribute = cudart.cudaDeviceAttr
    numbers = []
    for which in (attribute.cudaDevAttrComputeCapabilityMajor, attribute.cudaDevAttrComputeCapabilityMinor):
        status, number = cudart.cudaDeviceGetAttribute(which, 0)
        if int(status):
            return None
        numbers.append(number)
    status, properties = cudart.cudaGetDeviceProperties(0)
    name = "" if int(status) else properties.name.decode(errors="replace").rstrip("\0")
    return Gpu(name, f"{numbers[0]}.{numbers[1]}")


def _gpu_of_smi() -> Gpu | None:
    match = re.search(r"^(.*), *(\d+\.\d+)$", _ask_smi("name,compute_cap"), re.MULTILINE)
    return Gpu(match[1], match[2]) if match else None


def driver() -> str | None:
    """The NVIDIA driver's version; None without nvidia-smi."""
    lines = _ask_smi("driver_version").split()
    return lines[0] if lines else None


def _ask_smi(fields: str) -> str:
    """What nvidia-smi says of each GPU, a line each; empty where it is missing or fails."""
    query = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader"]
    try:
        return subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout
    except (subprocess.SubprocessError, OSError):
        return ""


@dataclass(frozen=True)
class Jetson:
    """A Jetson: its Jetson Linux release ("36.4.3"), JetPack release ("6.2"; empty where unknown) and model."""

    linux: str
    jetpack: str
    model: str


def jetson() -> Jetson | None:
    """What Jetson this is; None on other machines."""
    try:
        text = TEGRA_RELEASE.read_text(errors="replace")
    except OSError:
        return None
    match = re.search(r"R(\d+)\s*\(release\),\s*REVISION:\s*([\d.]+)", text)
    linux = f"{match[1]}.{match[2]}" if match else ""
    try:
        model = DEVICE_MODEL.read_text(errors="replace").rstrip("\0\n")
    except OSError:
        model = ""
    return Jetson(linux, jetpack_of(linux), model)


def jetpack_of(linux: str) -> str:
    """The JetPack release of a Jetson Linux release; empty where unknown."""
    parts = linux.split(".")
    for length in range(len(parts), 0, -1):
        if found := JETPACKS.get(".".join(parts[:length])):
            return found
    return ""
