"""Fills a folder with the playground, ready for any static host: the page, ONNX Runtime Web from npm, and models.

    python tools/build_web.py                                   # the shipped models, into build/web
    python tools/build_web.py --model step.onnx --output build/mine

Nothing is compiled: files are copied, and `models.json` and `files.json` written, which say what is there.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Optional

import typer
from script import run_script

from trm_deploy import puzzles
from trm_deploy.artefacts import shipped
from trm_deploy.errors import InputError
from trm_deploy.support.jsontext import dumps
from trm_deploy.web import files
from trm_deploy.web.manifest import manifest

ROOT = Path(__file__).parent.parent
# Of ONNX Runtime Web: the loader and the WebAssembly of each way to compute. The second file of each is fetched last.
RUNTIMES = {
    "wasm": ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"),
    "webgpu": ("ort.webgpu.bundle.min.mjs", "ort-wasm-simd-threaded.asyncify.wasm"),
}


def packages(folder: Path, *, tests: bool = False) -> Path:
    """The npm packages that the page needs, and its tests where asked, installed into a folder unless they are there.

    Returns:
        The folder `node_modules`.

    Raises:
        InputError: npm is missing, or fails.
    """
    wanted = json.loads((ROOT / "web" / "package.json").read_text())
    modules = folder / "node_modules"
    versions = {**wanted["dependencies"], **(wanted["devDependencies"] if tests else {})}
    if all(_version(modules / name) == version for name, version in versions.items()):
        return modules
    if shutil.which("npm") is None:
        raise InputError("npm is needed for onnxruntime-web and is not there", hint="apt-get install npm")
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "web" / "package.json", folder)
    omitted = [] if tests else ["--omit=dev"]
    command = [
        "npm",
        "install",
        *omitted,
        "--ignore-scripts",
        "--no-audit",
        "--no-fund",
        "--no-package-lock",
        "--silent",
    ]
    if subprocess.run([*command, "--prefix", str(folder)], check=False).returncode:
        raise InputError(f"npm failed in {folder}", hint=f"type: {' '.join(command)} --prefix {folder}")
    return modules


def _version(package: Path) -> str:
    path = package / "package.json"
    return str(json.loads(path.read_text())["version"]) if path.is_file() else ""


def shipped_models() -> list[Path]:
    """The step files of the shipped models whose answers rules verify."""
    return [model.path("step") for model in shipped.models() if puzzles.get(model.task).has_rules]


def build(output: Path, models: Sequence[Path], modules: Path) -> dict[str, Any]:
    """Write the whole folder; what was in it before is gone.

    Args:
        output: the folder.
        models: step files.
        modules: `node_modules` with onnxruntime-web.

    Returns:
        What `files.json` holds: every file with its size, and a version that changes with any of them.

    Raises:
        InputError: a model that the page cannot run, or a folder that is not one of these.
    """
    if output.exists() and any(output.iterdir()) and not (output / "models.json").is_file():
        raise InputError(f"{output}: holds other files, expected an empty folder", hint="name another with --output")
    shutil.rmtree(output, ignore_errors=True)
    (output / "models").mkdir(parents=True)
    for name in files.names():
        (output / name).write_bytes(files.read(name))
    _copy_runtime(output / "ort", modules / "onnxruntime-web")
    document = manifest(models, runtime={way: [f"ort/{name}" for name in names] for way, names in RUNTIMES.items()})
    for path, model in zip(models, document["models"]):
        model["file"] = f"models/{path.name}"
        shutil.copy(path, output / "models")
    (output / "models.json").write_text(dumps(document))
    listed = [path for path in sorted(output.rglob("*")) if path.is_file()]
    digest = hashlib.sha256(b"".join(hashlib.sha256(path.read_bytes()).digest() for path in listed)).hexdigest()
    names = {path.relative_to(output).as_posix(): path.stat().st_size for path in listed}
    made = {"version": digest[:16], "files": names}
    (output / "files.json").write_text(dumps(made))
    (output / ".nojekyll").touch()  # GitHub Pages: serve every file as it is
    return made


def _copy_runtime(folder: Path, package: Path) -> None:
    folder.mkdir()
    for names in RUNTIMES.values():
        for name in names:
            shutil.copy(package / "dist" / name, folder)
    for name in ("LICENSE", "package.json"):
        if (package / name).is_file():
            shutil.copy(package / name, folder)


def main(
    output: Annotated[Path, typer.Option(help="Folder to fill.")] = ROOT / "build" / "web",
    npm: Annotated[Path, typer.Option(help="Folder for npm's packages.")] = ROOT / "build" / "npm",
    model: Annotated[Optional[list[Path]], typer.Option(help="A step file; the shipped ones by default.")] = None,
) -> None:
    """Fill a folder with the playground."""
    made = build(output, model or shipped_models(), packages(npm))
    size = sum(made["files"].values())
    print(f"{output}: {len(made['files'])} files, {size / 1e6:.1f} MB, version {made['version']}")


if __name__ == "__main__":
    run_script(main)
