"""The command, see the package's docstring; with `--package` it is the process of one release."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

from .doubles import claims, doubles
from .reading import Reader, Uses

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "tensorrt-api"

# Release -> the wheel of its bindings.
RELEASES = {
    "10.3": "tensorrt-cu12-bindings==10.3.0",
    "10.7": "tensorrt-cu12-bindings==10.7.0",
    "10.9": "tensorrt-cu12-bindings==10.9.0.34",
    "10.13": "tensorrt-cu12-bindings==10.13.3.9",
    "10.16": "tensorrt-cu12-bindings==10.16.1.11",
    "11.0": "tensorrt-cu13-bindings==11.0.0.114",
    "11.2": "tensorrt-cu13-bindings==11.2.1.2",
    "11.4": "tensorrt-cu13-bindings==11.4.0.106",
}
# The package that also builds ahead of time; it has names that TensorRT lacks. Installed for development.
RTX = "tensorrt_rtx"
LIBRARIES = ("nvinfer", "nvonnxparser", "nvinfer_plugin")
# Every C function that the bindings import from those.
SYMBOLS = (
    "createInferBuilder_INTERNAL",
    "createInferRefitter_INTERNAL",
    "createInferRuntime_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL",
    "createNvOnnxParser_INTERNAL",
    "getBuilderPluginRegistry",
    "getNvOnnxParserVersion",
    "getPluginRegistry",
    "initLibNvInferPlugins",
)


def sources() -> list[Path]:
    """The files of the package that use TensorRT: that call something `trt`."""
    found = []
    for folder in ("export", "runtimes", "trm_deploy"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            names = (node.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name))
            if "trt" in names:
                found.append(path)
    return found


def tables(trt: ModuleType, uses: Uses) -> None:
    """Look up what our code has in a table instead: the settings of the layers that trt-network reads."""
    from trm_deploy.runtimes.backends.trt_network.network import KINDS

    for kind, (class_name, settings) in KINDS.items():
        if not hasattr(trt.LayerType, kind):
            continue  # older parsers make other layers
        for name in (class_name, *(f"{class_name}.{setting}" for setting in settings)):
            found: Any = trt
            for part in name.split("."):
                found = getattr(found, part, None)
            if found is None:
                uses.missing[name] = f"KINDS[{kind!r}]"
            else:
                uses.found.add(name)


def look_up(package: str, given: str) -> None:
    """In a process of its own: print what a package has, as JSON."""
    trt = importlib.import_module(package)
    uses = Uses()
    for path in sources():
        Reader(trt, uses, str(path.relative_to(ROOT))).read(path.read_text())
    tables(trt, uses)
    double, other = json.loads(given) or ({}, {})
    claimed = claims(trt, double, other)
    answer = {"found": sorted(uses.found | claimed.found), "missing": uses.missing, "optional": uses.optional}
    absent = [f"the double has {name}, TensorRT does not" for name in claimed.missing]
    print(json.dumps({**answer, "refused": [*uses.refused, *claimed.refused, *absent]}))


def bindings(release: str) -> Path:
    """The folder with a release's bindings, fetched where it is not there; raises CalledProcessError."""
    folder = BUILD / release
    if not folder.exists():
        download = BUILD / f"{release}.download"
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
             "--dest", str(download), RELEASES[release]],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        (wheel,) = download.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(download / "open")
        (download / "open").rename(folder)  # whole, or not there
    return folder


def stubs(major: str) -> Path:
    """A folder with shared objects in the place of TensorRT's libraries; raises CalledProcessError."""
    folder = BUILD / f"stubs-{major}"
    folder.mkdir(parents=True, exist_ok=True)
    code = "\n".join(f"void *{symbol}(void) {{ return 0; }}" for symbol in SYMBOLS)
    for name in LIBRARIES:
        file = f"lib{name}.so.{major}"
        subprocess.run(
            [os.environ.get("CC", "gcc"), "-shared", "-fPIC", "-xc", "-", f"-Wl,-soname,{file}", "-o", folder / file],
            input=code, check=True, capture_output=True, text=True,
        )  # fmt: skip
    return folder


def answer_of(package: str, folders: list[Path], libraries: Path | None, given: Any) -> dict[str, Any]:
    """What the process of a package prints."""
    environment = dict(os.environ)
    environment["PYTHONPATH"] = os.pathsep.join(map(str, (*folders, ROOT)))
    if libraries is not None:
        environment["LD_LIBRARY_PATH"] = str(libraries)
    done = subprocess.run(
        [sys.executable, "-m", "tools.check_tensorrt_api", "--package", package],
        input=json.dumps(given), check=True, capture_output=True, text=True, env=environment, cwd=ROOT,
    )  # fmt: skip
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def differences(answers: dict[str, dict[str, Any]], known: dict[str, dict[str, dict[str, int | None]]]) -> list[str]:
    """What our code or the doubles have wrong, in words."""
    everywhere = set().union(*(answer["found"] for answer in answers.values()))
    everywhere.update(name for answer in answers.values() for name, there in answer["optional"].items() if there)
    wrong = []
    for release, answer in answers.items():
        wrong += [f"TensorRT {release}: {text}" for text in answer["refused"]]
        for name, place in answer["missing"].items():
            kind, _, member = name.rpartition(".")
            claimed = member in known.get(release, {}).get(kind, {})
            if claimed or name not in everywhere:
                what = "the double has it" if claimed else "no release that was looked at has it"
                wrong.append(f"TensorRT {release} has no {name} ({place} uses it, {what})")
    for name in sorted({name for answer in answers.values() for name in answer["optional"]} - everywhere):
        wrong.append(f"{name} is asked for with a default, and no release that was looked at has it")
    return wrong


def main(arguments: list[str]) -> int:
    """Check the named releases, or all."""
    if arguments[:1] == ["--package"]:
        look_up(arguments[1], sys.stdin.read())
        return 0
    of_double = {"10": doubles("10.3"), "11": doubles("11")}
    answers = {}
    try:
        for release in arguments or RELEASES:
            major = release.partition(".")[0]
            pair = of_double[major], of_double["11" if major == "10" else "10"]
            answers[release] = answer_of("tensorrt_bindings", [bindings(release)], stubs(major), pair)
            print(f"TensorRT {release}: {len(answers[release]['found'])} names checked", flush=True)
        if importlib.util.find_spec(RTX):
            answers["for RTX"] = answer_of(RTX, [], None, None)
            print(f"TensorRT for RTX: {len(answers['for RTX']['found'])} names checked")
    except subprocess.CalledProcessError as error:
        print(f"{' '.join(map(str, error.cmd))}\nfails: {error.stderr}", file=sys.stderr)
        return 1
    wrong = differences(answers, {release: of_double[release.partition(".")[0]] for release in arguments or RELEASES})
    for text in wrong:
        print(text, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
