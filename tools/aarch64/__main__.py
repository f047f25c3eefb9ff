"""Prints what pip would install on each JetPack; exit code 1, with pip's message, where a wheel is missing."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from .resolving import JETPACKS, build_wheel, resolve


def main() -> None:
    """Resolve the package and cuda-python for every JetPack."""
    with tempfile.TemporaryDirectory() as folder:
        wheel = build_wheel(Path(folder))
        for name, system in JETPACKS.items():
            print(f"{name}, Python {system.python}:")
            print("  trm-deploy[onnx]:", ", ".join(resolve([f"{wheel}[onnx]"], system, extra="onnx")))
            print("  cuda-python:", ", ".join(resolve([system.cuda_python], system)))


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(f"error: {' '.join(map(str, error.cmd[:4]))} ... fails, see above")
