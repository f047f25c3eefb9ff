"""Gathers a kit, where there is a network: `python -m tools.gpu_kit.gather --python 3.12`.

Needs the environment of `make test`. The ONNX files are exported here, so that the device needs no exporter.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Optional

import numpy as np
import typer

from trm_deploy.api import export_model
from trm_deploy.signature import Graph, Precision
from trm_deploy.train.data.generators.sudoku import generate
from trm_deploy.train.data.settings import GeneratedPuzzles

from .unpack import MANIFEST

ROOT = Path(__file__).parents[2]
CHECKPOINT = ROOT / "trm_deploy" / "assets" / "sudoku.pt"
PART_BYTES = 45 << 20
PUZZLES = 1000
# Graph form, precision, and whether the recursion within a step is written out: TensorRT captures no loop.
EXPORTS: tuple[tuple[Graph, Precision, bool], ...] = (
    ("loop", "fp32", False),
    ("loop", "fp16", False),
    ("step", "fp32", False),
    ("step", "fp16", False),
    ("step", "fp16", True),
)
PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
# The machine has PyTorch, numpy and onnx, and with them these. What is in the kit comes before the machine's own.
ITS_OWN = {"torch", "numpy", "onnx", "protobuf", "ml-dtypes"}


def main(
    python: Annotated[str, typer.Option(help="Version of the device's Python, as 3.12.")],
    output: Annotated[Path, typer.Option(help="Folder to write.")] = Path("build/gpu-kit"),
    package: Annotated[Optional[list[str]], typer.Option(help="A further package, with what it needs.")] = None,
) -> None:
    """Write part-1, part-2 ... of at most 45 MiB each."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wheels(folder, python, package or [])
        files(folder)
        shutil.rmtree(output, ignore_errors=True)
        for part, size in pack(sorted(folder.iterdir()), output, python):
            print(f"{part}: {size / 2**20:.1f} MiB")


def wheels(folder: Path, python: str, packages: Sequence[str]) -> None:
    """The wheel of this package, typer, and further packages, with what they need and the machine lacks."""
    shutil.rmtree(ROOT / "build" / "lib", ignore_errors=True)  # setuptools would pack what was renamed since as well
    subprocess.run([*PIP, "wheel", "--no-deps", "--wheel-dir", str(folder), str(ROOT)], check=True)
    tags = [f"manylinux_2_{minor}_x86_64" for minor in range(35, 16, -1)] + ["manylinux2014_x86_64", "linux_x86_64"]
    options = ["--only-binary=:all:", "--python-version", python, "--implementation", "cp"]
    options += [f"--platform={tag}" for tag in tags]
    with tempfile.TemporaryDirectory() as name:
        subprocess.run([*PIP, "download", "--dest", name, *options, "typer", *packages], check=True)
        for wheel in Path(name).iterdir():
            if wheel.name.split("-")[0].replace("_", "-").lower() not in ITS_OWN:
                shutil.move(wheel, folder)


def files(folder: Path) -> None:
    """Checkpoint, exports with their golden vectors, puzzles, and the modules that run there."""
    with (
        zipfile.ZipFile(folder / "kit.zip", "w", zipfile.ZIP_DEFLATED) as archive,
        tempfile.TemporaryDirectory() as name,
    ):
        for module in Path(__file__).parent.glob("*.py"):
            if module.name != Path(__file__).name:
                archive.write(module, f"gpu_kit/{module.name}")
        for graph, precision, unrolled in EXPORTS:
            target = Path(name, f"{graph}-{precision}{'-unrolled' if unrolled else ''}.onnx")
            export_model(CHECKPOINT, target, graph=graph, precision=precision, unroll_inner=unrolled)
        archive.write(CHECKPOINT, "gpu_kit/files/sudoku.pt")
        for path in sorted(Path(name).iterdir()):
            archive.write(path, f"gpu_kit/files/{path.name}")
        made = generate(GeneratedPuzzles(puzzles=PUZZLES, hardness=3.0, seed=99))
        digits = np.concatenate(list(made))[:, 0]
        lines = "".join("".join(map(str, row)) + "\n" for row in digits)
        archive.writestr("gpu_kit/files/puzzles.txt", lines)


def pack(paths: Sequence[Path], output: Path, python: str, limit: int = PART_BYTES) -> list[tuple[Path, int]]:
    """Files in parts of at most `limit` bytes; a larger file is cut into pieces.

    Returns:
        The folders of the parts, and their sizes in bytes.
    """
    room = limit - (1 << 18)  # for the manifest, which every part has
    pieces: list[tuple[bool, str, bytes]] = []
    entries: dict[str, list[dict[str, Any]]] = {}
    for path in paths:
        data = path.read_bytes()
        cuts = [data[start : start + room] for start in range(0, len(data), room)]
        for number, cut in enumerate(cuts):
            name = path.name if len(cuts) == 1 else f"{path.name}.{number:03}"
            pieces.append((len(cuts) > 1, name, cut))
            digest = hashlib.sha256(cut).hexdigest()
            entries.setdefault(path.name, []).append({"name": name, "bytes": len(cut), "sha256": digest})
    parts: list[list[tuple[str, bytes]]] = [[]]
    for _, name, cut in sorted(pieces):  # whole files first
        if parts[-1] and sum(len(other) for _, other in parts[-1]) + len(cut) > room:
            parts.append([])
        parts[-1].append((name, cut))
    manifest = json.dumps({"schema": 1, "python": python, "files": entries}, indent=2)
    found = []
    for number, part in enumerate(parts, start=1):
        folder = output / f"part-{number}"
        folder.mkdir(parents=True)
        (folder / MANIFEST).write_text(manifest)
        for name, cut in part:
            (folder / name).write_bytes(cut)
        shutil.copy(Path(__file__).with_name("unpack.py"), folder)
        shutil.copy(ROOT / "tools" / "gpu_kit.sh", folder)
        found.append((folder, sum(path.stat().st_size for path in folder.iterdir())))
    return found


if __name__ == "__main__":
    typer.run(main)
