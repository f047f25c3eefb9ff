"""What the tests' doubles of TensorRT claim to have."""

from __future__ import annotations

import ast
import enum
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, cast

from .reading import Uses
from .signatures import signatures

# Classes of the tests' doubles that are not called as TensorRT calls them.
DOUBLES = {
    "Network": "INetworkDefinition",
    "Config": "IBuilderConfig",
    "Profile": "IOptimizationProfile",
    "TimingCache": "ITimingCache",
    "Inspector": "EngineInspector",
    "Engine": "ICudaEngine",
    "Context": "IExecutionContext",
    "_Tensor": "ITensor",
}


def doubles(version: str) -> dict[str, dict[str, int | None]]:
    """What the double of a release has: class or enum -> member -> the arguments of a method, None of another."""
    from tests import stand_ins

    module = stand_ins.tensorrt(version, cast(Any, None))  # CUDA is only for what runs
    found: dict[str, dict[str, int | None]] = {"": {name: None for name in vars(module) if name != "__spec__"}}
    tree = ast.parse(Path(stand_ins.__file__).read_text())
    for node in (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)):
        name = DOUBLES.get(node.name, node.name)
        if node.name in DOUBLES or hasattr(module, name):
            found[name] = dict(_members(node))
    for name, value in vars(module).items():
        if isinstance(value, (SimpleNamespace, enum.EnumMeta)):
            members = vars(value) if isinstance(value, SimpleNamespace) else value.__members__
            found[name] = dict.fromkeys((member for member in members if not member.startswith("_")), None)
    return found


def _members(node: ast.ClassDef) -> Iterator[tuple[str, int | None]]:
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and not item.name.startswith("_"):
            yield item.name, None if item.decorator_list else len(item.args.args) - 1


def claims(trt: ModuleType, double: dict[str, dict[str, int | None]], other: dict[str, dict[str, int | None]]) -> Uses:
    """Look up what a double has, and that what only the other release's double has is not there."""
    uses = Uses()
    for name, members in double.items():
        kind = getattr(trt, name, None) if name else trt
        for member, arguments in members.items():
            whole = f"{name}.{member}" if name else member
            if not hasattr(kind, member):
                uses.missing[whole] = "the double"
                continue
            uses.found.add(whole)
            overloads = signatures(getattr(kind, member))
            if arguments is not None and overloads and not any(one.takes(arguments, []) for one in overloads):
                uses.refused.append(f"the double's {whole} takes {arguments} arguments, TensorRT's does not")
        for member in other.get(name, {}).keys() - members.keys():
            if hasattr(kind, member):
                uses.refused.append(f"the double has no {name}.{member}, and TensorRT does")
    return uses
