"""What pip installs from wheels alone on Linux for aarch64, asked from here."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")


@dataclass(frozen=True)
class System:
    """What wheels have to fit.

    Attributes:
        python: its Python, as "3.10".
        glibc: the minor version of its glibc 2.
        cuda_python: the requirement of NVIDIA's bindings that docs/jetson.md names.
    """

    python: str
    glibc: int
    cuda_python: str = ""

    @property
    def pip_options(self) -> list[str]:
        """For `pip install` or `pip download`: from manylinux2014 on to this glibc, and nothing from source."""
        tags = [f"manylinux_2_{minor}_aarch64" for minor in range(self.glibc, 16, -1)]
        tags += ["manylinux2014_aarch64", "linux_aarch64"]
        options = ["--only-binary=:all:", "--python-version", self.python, "--implementation", "cp"]
        return options + [f"--platform={tag}" for tag in tags]

    @property
    def markers(self) -> dict[str, str]:
        """pip evaluates environment markers for the Python that runs it, so those of the device are evaluated here."""
        return {
            "python_version": self.python,
            "python_full_version": f"{self.python}.12",
            "platform_machine": "aarch64",
            "sys_platform": "linux",
            "platform_system": "Linux",
        }


JETPACKS = {
    "JetPack 6 (Ubuntu 22.04)": System("3.10", 35, "cuda-python>=12.6,<13"),
    "JetPack 7 (Ubuntu 24.04)": System("3.12", 39, "cuda-python>=13,<14"),
}


def resolve(requirements: Sequence[str], system: System, *, extra: str = "") -> list[str]:
    """Names and versions that pip would install there, "numpy 2.2.6"; raises CalledProcessError where it cannot."""
    found = _resolved(requirements, system)
    names = {canonicalize_name(package["name"]) for package in found}
    lacking = []
    for package in found:
        for text in package.get("requires_dist", ()):
            needed = Requirement(text)
            applies = needed.marker is None or needed.marker.evaluate({**system.markers, "extra": extra})
            if applies and canonicalize_name(needed.name) not in names:
                lacking.append(f"{needed.name}{needed.specifier}")
    if lacking:
        return resolve([*requirements, *lacking], system, extra=extra)
    return sorted(f"{package['name']} {package['version']}" for package in found)


def _resolved(requirements: Sequence[str], system: System) -> list[dict[str, Any]]:
    """The metadata of what pip would install."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        options = ["--dry-run", "--ignore-installed", "--report", str(report), "--target", folder]
        subprocess.run([*PIP, "install", *options, *system.pip_options, *requirements], check=True)
        return [entry["metadata"] for entry in json.loads(report.read_text())["install"]]


def build_wheel(folder: Path) -> Path:
    """The wheel of this package, made in a folder."""
    shutil.rmtree(ROOT / "build" / "lib", ignore_errors=True)  # setuptools would pack what was renamed since as well
    subprocess.run([*PIP, "wheel", "--no-deps", "--wheel-dir", str(folder), str(ROOT)], check=True)
    (wheel,) = folder.glob("trm_deploy-*.whl")
    return wheel
