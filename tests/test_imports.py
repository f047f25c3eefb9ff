"""Who may import whom: one table of floors, without exceptions, and no circle between files."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import ROOT

# From the ground up. Packages of one floor may not import each other: a package imports itself and lower floors.
# "spec" is the module `trm_deploy.spec`, and so on; "" is `trm_deploy/__init__.py`.
FLOORS = (
    {"errors"},
    {"support"},
    {"spec", "puzzles", "hub"},
    {"signature", "flops"},
    {"artefacts", "models"},
    {"trt", "checkpoints", "web"},
    {"export", "runtimes", "train"},
    {"evaluation", "inspection", "tracing"},
    {"api"},
    {"serving", "cluster"},
    {"cli"},
    {"__main__"},
)
FLOOR = {package: number for number, floor in enumerate(FLOORS) for package in floor}
# Data, and the front door: the version, and public names that are imported when they are asked for.
ANYWHERE = {"assets", ""}
HEAVY = set(
    [
        "torch",
        "onnx",
        "onnxscript",
        "onnx_ir",
        "onnxruntime",
        "openvino",
        "tensorrt",
        "tensorrt_rtx",
        "numba",
        "matplotlib",
    ]
)
# Modules that may import a heavy package at their top, by their beginnings.
MAY_BE_HEAVY = (
    "models.",
    "checkpoints.",
    "train.",
    "export.graph.",
    "export.onnx_artefact",
    "runtimes.backends.pytorch",
    "runtimes.profiling.pytorch",
)
LIGHT = ("train.recipe", "train.data.settings")
LAYERS = ("export", "runtimes", "train", "web")


def sources() -> dict[str, Path]:
    """Every module of the package, by its name without `trm_deploy.`; a package by its own name."""
    found = {}
    for top in (ROOT / "trm_deploy", *(ROOT / layer for layer in LAYERS)):
        for path in sorted(top.rglob("*.py")):
            inside = path.relative_to(ROOT / "trm_deploy" if top.name == "trm_deploy" else ROOT)
            if top.name == "trm_deploy" and inside.parts[0] in LAYERS:
                continue  # the links that let editable installs and editors follow
            found[".".join(inside.with_suffix("").parts).removesuffix("__init__").rstrip(".")] = path
    return found


SOURCES = sources()


def imports(path: Path, *, top_only: bool = False) -> Iterator[str]:
    """Modules that a file imports, the lazy and the type-only included; a name imported from a package is resolved.

    `import_module("...")` counts as well.
    """
    tree = ast.parse(path.read_text())
    for node in tree.body if top_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole.removeprefix("trm_deploy.") in SOURCES else node.module
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield from (str(argument.value) for argument in node.args[:1] if isinstance(argument, ast.Constant))


def ours(path: Path) -> set[str]:
    return {
        name.removeprefix("trm_deploy").removeprefix(".")
        for name in imports(path)
        if name.partition(".")[0] == "trm_deploy"
    }


def test_every_module_has_a_floor() -> None:
    packages = {name.partition(".")[0] for name in SOURCES}
    assert packages <= FLOOR.keys() | ANYWHERE
    assert len(SOURCES) > 90


def test_imports_are_absolute() -> None:
    """The tests of this file read no other."""
    relative = [
        f"{name} line {node.lineno}"
        for name, path in SOURCES.items()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert relative == []


def test_modules_import_their_own_package_and_lower_floors_alone() -> None:
    broken = []
    for name, path in SOURCES.items():
        package = name.partition(".")[0]
        if package in ANYWHERE:
            continue
        for target in ours(path):
            other = target.partition(".")[0]
            if other not in (package, *ANYWHERE) and FLOOR[other] >= FLOOR[package]:
                broken.append(f"{name} imports {target}")
    assert broken == []


def test_there_is_no_circle_between_files() -> None:
    graph = {name: {target for target in ours(path) if target in SOURCES} for name, path in SOURCES.items()}
    graph.pop("")  # the front door, which names modules to import when they are asked for
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join((*path[path.index(name) :], name))
        if name in done or name not in graph:
            return
        # A package's own `__init__` hands on what its files define; importing a sibling through it is no circle.
        for target in graph[name]:
            if not name.startswith(f"{target}."):
                visit(target, (*path, name))
        done.add(name)

    for name in graph:
        visit(name, ())


def test_heavy_packages_are_imported_at_the_top_only_where_they_are_the_subject() -> None:
    for name, path in SOURCES.items():
        heavy = {target.partition(".")[0] for target in imports(path, top_only=True)} & HEAVY
        if heavy:
            assert name.startswith(MAY_BE_HEAVY), f"{name} imports {heavy} at its top"
            assert name not in LIGHT, name


def test_stand_ins_import_nothing_of_what_they_test() -> None:
    found = sorted((ROOT / "tests").glob("*stand_in*.py"))
    assert [path.name for path in found] == ["cuda_stand_in.py", "stand_ins.py"]
    assert [ours(path) for path in found] == [set(), set()]


def test_no_file_shadows_a_library() -> None:
    assert {name.rpartition(".")[2] for name in SOURCES}.isdisjoint(HEAVY)


def test_no_file_is_too_long_to_read() -> None:
    longest = {
        path.name: lines for path in (ROOT / "web").glob("*.js") if (lines := len(path.read_text().splitlines())) >= 500
    }
    for folder in ("trm_deploy", *LAYERS, "tests", "tools"):
        for path in (ROOT / folder).rglob("*.py"):
            limit = 250 if path.parent == ROOT / "trm_deploy" / "cli" else 500
            lines = len(path.read_text().splitlines())
            if lines >= limit:
                longest[str(path.relative_to(ROOT))] = lines
    assert longest == {}
