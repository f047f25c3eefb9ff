"""Resolves what a Jetson on JetPack 6 installs (aarch64, glibc 2.35, Python 3.10), from wheels alone.

    python tools/check_aarch64.py

Exit code 1, with pip's message, where a package has no wheel for it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
# From manylinux2014 on to the glibc of Ubuntu 22.04.
PLATFORMS = [f"manylinux_2_{minor}_aarch64" for minor in range(35, 16, -1)] + ["manylinux2014_aarch64", "linux_aarch64"]


# pip evaluates environment markers for the Python that runs it, so those of the device are evaluated here.
ENVIRONMENT = {
    "python_version": "3.10",
    "python_full_version": "3.10.12",
    "platform_machine": "aarch64",
    "sys_platform": "linux",
    "platform_system": "Linux",
}


def resolve(requirements: list[str], *, extra: str = "") -> list[str]:
    """Names and versions that pip would install there."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
        command += ["--disable-pip-version-check", "--report", str(report), "--target", folder]
        command += ["--only-binary=:all:", "--python-version", "3.10", "--implementation", "cp"]
        command += [f"--platform={platform}" for platform in PLATFORMS]
        subprocess.run([*command, *requirements], check=True)
        found = [entry["metadata"] for entry in json.loads(report.read_text())["install"]]
    names = {canonicalize_name(package["name"]) for package in found}
    lacking = []
    for package in found:
        for text in package.get("requires_dist", ()):
            needed = Requirement(text)
            applies = needed.marker is None or needed.marker.evaluate({**ENVIRONMENT, "extra": extra})
            if applies and canonicalize_name(needed.name) not in names:
                lacking.append(f"{needed.name}{needed.specifier}")
    if lacking:
        return resolve([*requirements, *lacking], extra=extra)
    return sorted(f"{package['name']} {package['version']}" for package in found)


def main() -> None:
    """Print what pip would install."""
    with tempfile.TemporaryDirectory() as folder:
        build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*build, "--wheel-dir", folder, str(ROOT)], check=True)
        (wheel,) = Path(folder).glob("*.whl")
        print("trm-deploy[onnx]:", ", ".join(resolve([f"{wheel}[onnx]"], extra="onnx")))
    print("cuda-python:", ", ".join(resolve(["cuda-python>=12.6,<13"])))


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(f"error: {' '.join(map(str, error.cmd[:4]))} ... fails, see above")
